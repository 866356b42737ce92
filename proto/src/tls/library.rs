//! Which library does the cryptography: aws-lc, or ring if that is the only one that was asked for.

use alloc::sync::Arc;

#[cfg(feature = "tls")]
use aws_lc_rs as library;
#[cfg(not(feature = "tls"))]
use ring as library;
#[cfg(feature = "tls")]
use rustls::crypto::aws_lc_rs::default_provider;
#[cfg(not(feature = "tls"))]
use rustls::crypto::ring::default_provider;

use rustls::crypto::CryptoProvider;

pub(super) use library::{aead, digest, rand};

/// The defaults of rustls: TLS 1.3, and TLS 1.2 with ephemeral keys and authenticated encryption alone.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}
