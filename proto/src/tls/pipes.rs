//! What the library writes to and reads from.

use std::io::{self, IoSlice, Read, Write};

use crate::rope::Rope;

/// Takes everything.
pub(super) struct Outbound<'a>(pub(super) &'a mut Rope);

impl Write for Outbound<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push_copy(bytes);
        Ok(bytes.len())
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let len = slices.iter().map(|slice| slice.len()).sum();
        self.0.push_with(len, |tail| {
            tail.reserve(len);
            slices.iter().for_each(|slice| tail.extend_from_slice(slice));
        });
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Has nothing yet.
pub(super) struct Nothing;

impl Read for Nothing {
    fn read(&mut self, _into: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}
