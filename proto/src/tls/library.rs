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

use rustls::CipherSuite;
use rustls::crypto::CryptoProvider;

pub(super) use library::{aead, digest, rand};

/// The defaults of rustls: TLS 1.3, and TLS 1.2 with ephemeral keys and authenticated encryption alone. Of these suites the
/// first that a client knows is taken: AES with 128 bits, which are plenty, and take less time than 256.
pub(super) fn provider() -> Arc<CryptoProvider> {
    let mut provider = default_provider();
    provider.cipher_suites.sort_by_key(|suite| (suite.tls13().is_none(), !is_aes_128(suite.suite())));
    Arc::new(provider)
}

fn is_aes_128(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
    )
}
