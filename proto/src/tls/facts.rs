//! What a handshake has agreed on.

use alloc::string::String;
use core::fmt;

use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use rustls::{CipherSuite, HandshakeKind, ProtocolVersion, ServerConnection};

use super::library::digest;
use super::x509;

/// What a handshake has agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The place of the certificate's entry among those that the store was made of.
    pub entry: usize,
    /// The name that the client asked for, in lower case and without a dot at the end.
    pub server_name: Option<String>,
    /// The protocol that was agreed on by ALPN, as in `h2` or `http/1.1`.
    pub protocol: Option<Bytes>,
    /// The version of TLS.
    pub version: Version,
    /// The cipher suite by its name in IANA's registry.
    pub cipher: &'static str,
    /// Whether an earlier session was taken up again.
    pub is_resumed: bool,
    /// The client's certificate, if it showed one. It is valid, was vouched for, and the client has its key.
    pub client: Option<ClientCertificate>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// TLS 1.2 (RFC 5246).
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

/// A client's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Whom it is for, as RFC 4514 writes names: `CN=Ann,O=Example,C=DE`. It has no control characters.
    pub subject: String,
    /// Who has signed it.
    pub issuer: String,
    /// Its serial number in upper-case hexadecimal digits.
    pub serial: String,
    /// SHA-256 of its DER.
    pub fingerprint: [u8; 32],
}

impl Facts {
    /// Reads what a finished handshake has agreed on. `None` if the client's certificate cannot be read, or has expired
    /// since its session began: the library looks at it once only.
    pub(super) fn read(connection: &ServerConnection, entry: usize, now: u64) -> Option<Self> {
        let client = match connection.peer_certificates().and_then(<[_]>::first) {
            Some(certificate) => Some(ClientCertificate::read(certificate, now)?),
            None => None,
        };
        Some(Self {
            entry,
            server_name: connection.server_name().map(|name| name.strip_suffix('.').unwrap_or(name).into()),
            protocol: connection.alpn_protocol().map(Bytes::copy_from_slice),
            version: if connection.protocol_version()? == ProtocolVersion::TLSv1_3 {
                Version::Tls13
            } else {
                Version::Tls12
            },
            cipher: cipher(connection)?,
            is_resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            client,
        })
    }
}

impl Facts {
    /// The name of a cipher suite that can be in [`cipher`](Self::cipher).
    #[cfg(feature = "engine")]
    pub(crate) fn cipher_of(name: &str) -> Option<&'static str> {
        let provider = super::library::provider();
        let mut known = provider.cipher_suites.iter().filter_map(|suite| registered(suite.suite()));
        known.find(|known| *known == name)
    }
}

impl ClientCertificate {
    fn read(der: &CertificateDer<'_>, now: u64) -> Option<Self> {
        let x509::Certificate { serial, issuer, subject, not_after } = x509::Certificate::read(der)?;
        (now <= not_after).then(|| Self { subject, issuer, serial, fingerprint: fingerprint(der) })
    }

    /// The fingerprint in lower-case hexadecimal digits.
    pub fn fingerprint_hex(&self) -> String {
        x509::hex(&self.fingerprint, false)
    }
}

/// SHA-256 of a certificate in DER, by which people and nodes know it.
pub fn fingerprint(certificate: &[u8]) -> [u8; 32] {
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest::digest(&digest::SHA256, certificate).as_ref());
    fingerprint
}

impl Version {
    /// As other servers write it: `TLSv1.3`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tls12 => "TLSv1.2",
            Self::Tls13 => "TLSv1.3",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn cipher(connection: &ServerConnection) -> Option<&'static str> {
    registered(connection.negotiated_cipher_suite()?.suite())
}

/// The library has prefixes of its own for the suites of TLS 1.3.
fn registered(suite: CipherSuite) -> Option<&'static str> {
    Some(match suite.as_str()? {
        "TLS13_AES_128_GCM_SHA256" => "TLS_AES_128_GCM_SHA256",
        "TLS13_AES_256_GCM_SHA384" => "TLS_AES_256_GCM_SHA384",
        "TLS13_CHACHA20_POLY1305_SHA256" => "TLS_CHACHA20_POLY1305_SHA256",
        name => name,
    })
}
