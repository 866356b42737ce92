//! HTTP as values: what HTTP/1, HTTP/2 and SPDY have in common.
//!
//! An [`Event`] that one machine yields is a command that another one takes. Heads keep the bytes they came as, in one
//! allocation, with the places of names and values beside it.

mod added;
#[cfg(any(feature = "http2", feature = "spdy"))]
mod allowance;
mod build;
mod head;
pub mod pages;
mod rules;
mod scan;
#[cfg(any(feature = "http2", feature = "spdy"))]
mod stream;

use alloc::sync::Arc;
use core::fmt;

use bytes::Bytes;

pub use added::AddedField;
pub use build::{RequestBuilder, ResponseBuilder, reason};
pub use head::{BodySize, Fields, Framing, Request, Response, Version};
pub use pages::Pages;
pub use rules::{REQUEST_LINE_SLACK, has_token, is_idempotent, is_safe, split_authority, tokens};

#[cfg(any(feature = "http2", feature = "spdy"))]
pub use stream::{StreamEvent, Tally};

#[cfg(any(feature = "http2", feature = "spdy"))]
pub(crate) use allowance::Allowance;
pub(crate) use rules::push_decimal;
pub(crate) use scan::HeadScan;

use crate::limits::Limits;

/// A part of a message, received or to be sent.
///
/// A message is one head, then any number of [`Body`](Self::Body) pieces, then one [`End`](Self::End). Interim
/// responses (1xx) are heads alone and come before the final one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The head of a request.
    Request(Request),
    /// The head of a response.
    Response(Response),
    /// Bytes of the body, free of any framing.
    Body(Bytes),
    /// The message is complete.
    End,
}

/// One of the exchanges that share a connection: a stream of HTTP/2 or SPDY, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What all connections of a server share. Give each connection a clone of one [`Arc`].
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Bounds and deadlines.
    pub limits: Limits,
    /// The operator's error pages.
    pub pages: Pages,
}

impl Settings {
    /// Settings with these limits and no pages of the operator's.
    pub fn with_limits(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, pages: Pages::default() })
    }
}
