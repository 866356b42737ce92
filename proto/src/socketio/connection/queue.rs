//! A queue that owns no memory while at most one thing waits in it.

use alloc::collections::VecDeque;
use core::mem::size_of;

/// First in, first out. A connection mostly has one thing to say before somebody takes it.
pub(super) struct Queue<T> {
    first: Option<T>,
    rest: VecDeque<T>,
}

impl<T> Queue<T> {
    pub(super) const fn new() -> Self {
        Self { first: None, rest: VecDeque::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && self.rest.is_empty()
    }

    pub(super) fn front(&self) -> Option<&T> {
        self.first.as_ref().or_else(|| self.rest.front())
    }

    pub(super) fn push(&mut self, item: T) {
        if self.is_empty() {
            self.first = Some(item);
        } else {
            self.rest.push_back(item);
        }
    }

    pub(super) fn extend(&mut self, items: impl IntoIterator<Item = T>) {
        items.into_iter().for_each(|item| self.push(item));
    }

    /// Puts something before all that waits.
    pub(super) fn push_front(&mut self, item: T) {
        if let Some(second) = self.first.replace(item) {
            self.rest.push_front(second);
        }
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let item = self.first.take().or_else(|| self.rest.pop_front());
        if self.rest.is_empty() && self.rest.capacity() > 0 {
            self.rest = VecDeque::new();
        }
        item
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(&self.rest)
    }

    /// Bytes of memory that it owns, beyond those of the things in it.
    pub(super) fn held(&self) -> usize {
        self.rest.capacity() * size_of::<T>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn what_goes_in_comes_out_in_order_and_nothing_is_kept() {
        let mut queue = Queue::new();
        queue.push(1);
        assert_eq!((queue.held(), queue.front()), (0, Some(&1)));
        queue.push(2);
        queue.push(3);
        assert_eq!(queue.pop(), Some(1));
        queue.push(4);
        queue.push_front(0);
        assert_eq!(queue.iter().copied().collect::<Vec<_>>(), [0, 2, 3, 4]);
        queue.push_front(9);
        assert_eq!(core::iter::from_fn(|| queue.pop()).collect::<Vec<_>>(), [9, 0, 2, 3, 4]);
        assert!(queue.is_empty() && queue.held() == 0);
    }
}
