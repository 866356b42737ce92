//! Why connections fail, from the library's words to ours.

use alloc::string::{String, ToString};
use std::io;

use rustls::{Error, InvalidMessage, PeerMisbehaved};

use crate::error::Cause;

/// Why a connection fails: for the program, and in the library's words for a person.
pub(super) struct Failure {
    pub(super) cause: Cause,
    pub(super) words: String,
}

impl Failure {
    /// What was wrong with the first thing that a client said. Whoever does not begin with a record does not speak TLS.
    pub(super) fn at_hello(error: Error) -> Self {
        let no_record = [InvalidMessage::InvalidContentType, InvalidMessage::UnknownProtocolVersion];
        if matches!(&error, Error::InvalidMessage(what) if no_record.contains(what)) {
            return Self { cause: Cause::NotTls, words: error.to_string() };
        }
        error.into()
    }

    /// The library's buffer is full before a message is complete, which is all that its reading can fail for.
    pub(super) fn too_large(_full: io::Error) -> Self {
        Self { cause: Cause::TlsMalformed, words: "a message is too large".to_string() }
    }
}

impl From<Error> for Failure {
    #[allow(clippy::wildcard_enum_match_arm, reason = "what is left is about our own side")]
    fn from(error: Error) -> Self {
        let cause = match &error {
            Error::AlertReceived(_) => Cause::TlsAlert,
            // The general one comes when none of our keys fits what the client takes, or its key share fits nothing.
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol | Error::General(_) => Cause::TlsNegotiation,
            Error::NoCertificatesPresented => Cause::TlsCertificateMissing,
            Error::InvalidCertificate(_) | Error::UnsupportedNameType => Cause::TlsCertificateRefused,
            Error::PeerMisbehaved(
                PeerMisbehaved::TooManyEmptyFragments
                | PeerMisbehaved::TooManyKeyUpdateRequests
                | PeerMisbehaved::TooManyRenegotiationRequests
                | PeerMisbehaved::TooManyWarningAlertsReceived,
            ) => Cause::TlsFlood,
            Error::PeerMisbehaved(_)
            | Error::InvalidMessage(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::DecryptError
            | Error::PeerSentOversizedRecord => Cause::TlsMalformed,
            // No randomness, no time.
            _ => Cause::TlsFailed,
        };
        Self { cause, words: error.to_string() }
    }
}
