//! What can be wrong with certificates.

use alloc::string::String;
use core::fmt;

/// What is wrong with an [`Entry`](super::Entry).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryError {
    /// The entry's [`label`](super::Entry::label).
    pub entry: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What can be wrong with an [`Entry`](super::Entry).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// A name is neither a host name, nor one behind `*.`, nor `*`.
    NameMalformed(String),
    /// A name belongs to an entry before.
    NameTaken {
        /// The name.
        name: String,
        /// The label of the other entry.
        by: String,
    },
    /// The chain is not PEM.
    ChainMalformed(String),
    /// There is no certificate in the chain.
    ChainEmpty,
    /// A certificate of the chain cannot be read.
    CertificateMalformed {
        /// Its place in the chain, from 1.
        number: usize,
    },
    /// The key is not PEM.
    KeyMalformed(String),
    /// There is no private key; one that is encrypted counts as none.
    KeyMissing,
    /// The key is of no kind that can be used.
    KeyUnsupported(String),
    /// The key does not belong to the first certificate of the chain.
    KeyMismatch,
    /// The OCSP response is not one, in DER, with an answer in it.
    OcspMalformed,
    /// The certificates of those who may vouch for clients cannot be used.
    ClientCaMalformed(String),
    /// There are none.
    ClientCaEmpty,
    /// A protocol's name is empty or longer than 255 bytes (RFC 7301, 3.1).
    ProtocolMalformed,
    /// The TLS library wants none of it.
    Unusable(String),
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.entry, self.problem)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NameMalformed(name) => write!(f, "'{name}' is not a host name"),
            Self::NameTaken { name, by } => write!(f, "'{name}' is a name of {by} already"),
            Self::ChainMalformed(what) => write!(f, "the certificates are not PEM: {what}"),
            Self::ChainEmpty => f.write_str("there is no certificate"),
            Self::CertificateMalformed { number } => write!(f, "certificate {number} cannot be read"),
            Self::KeyMalformed(what) => write!(f, "the private key is not PEM: {what}"),
            Self::KeyMissing => f.write_str("there is no private key, or it is encrypted"),
            Self::KeyUnsupported(what) => write!(f, "the private key cannot be used: {what}"),
            Self::KeyMismatch => f.write_str("the private key does not belong to the first certificate"),
            Self::OcspMalformed => f.write_str("the OCSP response is not one in DER with an answer in it"),
            Self::ClientCaMalformed(what) => {
                write!(f, "the certificates that vouch for clients cannot be used: {what}")
            }
            Self::ClientCaEmpty => f.write_str("there is no certificate that vouches for clients"),
            Self::ProtocolMalformed => f.write_str("the name of a protocol has 1 to 255 bytes"),
            Self::Unusable(what) => write!(f, "the TLS library refuses it: {what}"),
        }
    }
}

impl core::error::Error for EntryError {}
