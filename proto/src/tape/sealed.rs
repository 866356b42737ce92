//! What TLS made of an input, on a tape.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use std::io::Read;

use super::ReplayError;
use super::values::*;
use crate::engine::{LinkId, Recorded, Step};
use crate::error::Cause;
use crate::tls::{ClientCertificate, Facts, Version};

const ESTABLISHED: u8 = 1;
const PLAIN: u8 = 2;
const ENDED: u8 = 3;
const FAILED: u8 = 4;
const ANSWERED: u8 = 5;

/// Writes what TLS did on a link, with the plaintext and the number of bytes for the peer that wait then.
pub(super) fn put(line: &mut Vec<u8>, link: LinkId, step: &Step, plain: &[u8], pending: usize) {
    put_link(line, link);
    put_number(line, pending as u64);
    match step {
        Step::Established(facts) => {
            line.push(ESTABLISHED);
            put_facts(line, facts);
        }
        Step::Plain(n) => {
            line.push(PLAIN);
            put_bytes(line, &plain[..*n]);
        }
        Step::Ended => line.push(ENDED),
        Step::Failed { cause, why } => {
            line.push(FAILED);
            put_bytes(line, cause.name().as_bytes());
            put_bytes(line, why.as_bytes());
        }
        Step::Answered => line.push(ANSWERED),
    }
}

pub(super) fn take(tape: &mut dyn Read) -> Result<Recorded, ReplayError> {
    let (link, pending) = (link(tape)?, size(tape)?);
    let mut plain = Vec::new();
    let step = match byte(tape)? {
        ESTABLISHED => Step::Established(Box::new(facts(tape)?)),
        PLAIN => {
            plain = bytes(tape)?;
            Step::Plain(plain.len())
        }
        ENDED => Step::Ended,
        FAILED => {
            let name = text(tape)?;
            let known = Cause::ALL.iter().find(|cause| cause.name() == name);
            let cause = *known.ok_or(ReplayError::NotATape("an unknown cause"))?;
            Step::Failed { cause, why: text(tape)?.into() }
        }
        ANSWERED => Step::Answered,
        _ => return Err(ReplayError::NotATape("an unknown deed of TLS")),
    };
    Ok(Recorded { link, step, plain, pending })
}

fn put_facts(line: &mut Vec<u8>, facts: &Facts) {
    let Facts { entry, server_name, protocol, version, cipher, is_resumed, client } = facts;
    put_number(line, *entry as u64);
    put_maybe(line, server_name.as_ref(), |line, name| put_bytes(line, name.as_bytes()));
    put_maybe(line, protocol.as_ref(), |line, protocol| put_bytes(line, protocol));
    line.push(match version {
        Version::Tls12 => 2,
        Version::Tls13 => 3,
    });
    put_bytes(line, cipher.as_bytes());
    line.push((*is_resumed).into());
    put_maybe(line, client.as_ref(), |line, client| {
        let ClientCertificate { subject, issuer, serial, fingerprint } = client;
        for text in [subject, issuer, serial] {
            put_bytes(line, text.as_bytes());
        }
        line.extend_from_slice(fingerprint);
    });
}

fn facts(tape: &mut dyn Read) -> Result<Facts, ReplayError> {
    Ok(Facts {
        entry: size(tape)?,
        server_name: maybe(tape, text)?,
        protocol: maybe(tape, bytes)?.map(Into::into),
        version: match byte(tape)? {
            2 => Version::Tls12,
            3 => Version::Tls13,
            _ => return Err(ReplayError::NotATape("an unknown version of TLS")),
        },
        cipher: Facts::cipher_of(&text(tape)?).ok_or(ReplayError::NotATape("an unknown cipher"))?,
        is_resumed: byte(tape)? == 1,
        client: maybe(tape, client)?,
    })
}

fn client(tape: &mut dyn Read) -> Result<ClientCertificate, ReplayError> {
    let (subject, issuer, serial) = (text(tape)?, text(tape)?, text(tape)?);
    let mut fingerprint = [0; 32];
    tape.read_exact(&mut fingerprint)?;
    Ok(ClientCertificate { subject, issuer, serial, fingerprint })
}

fn put_maybe<T>(line: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    line.push(value.is_some().into());
    if let Some(value) = value {
        put(line, value);
    }
}

fn maybe<T>(
    tape: &mut dyn Read,
    take: impl FnOnce(&mut dyn Read) -> Result<T, ReplayError>,
) -> Result<Option<T>, ReplayError> {
    if byte(tape)? == 1 { take(tape).map(Some) } else { Ok(None) }
}

fn text(tape: &mut dyn Read) -> Result<String, ReplayError> {
    String::from_utf8(bytes(tape)?).map_err(|_| ReplayError::NotATape("a text is damaged"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> LinkId {
        LinkId { slot: 300, generation: 7 }
    }

    fn written(recorded: &Recorded) -> Vec<u8> {
        let mut line = Vec::new();
        put(&mut line, recorded.link, &recorded.step, &recorded.plain, recorded.pending);
        line
    }

    fn samples() -> Vec<Recorded> {
        let client = ClientCertificate {
            subject: "CN=ann".into(),
            issuer: "CN=ca".into(),
            serial: "00AB".into(),
            fingerprint: [7; 32],
        };
        let bare = Facts {
            entry: 0,
            server_name: None,
            protocol: None,
            version: Version::Tls13,
            cipher: "TLS_AES_256_GCM_SHA384",
            is_resumed: false,
            client: None,
        };
        let full = Facts {
            entry: 3,
            server_name: Some("a.test".into()),
            protocol: Some("h2".into()),
            version: Version::Tls12,
            cipher: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            is_resumed: true,
            client: Some(client),
        };
        let steps = [
            Step::Established(Box::new(bare)),
            Step::Established(Box::new(full)),
            Step::Plain(5),
            Step::Ended,
            Step::Failed { cause: Cause::TlsAlert, why: "received fatal alert".into() },
            Step::Answered,
        ];
        let plain = |step: &Step| if matches!(step, Step::Plain(_)) { b"Hello".to_vec() } else { Vec::new() };
        steps.into_iter().map(|step| Recorded { link: link(), plain: plain(&step), step, pending: 1234 }).collect()
    }

    #[test]
    fn what_is_put_is_taken() {
        for recorded in samples() {
            let line = written(&recorded);
            assert_eq!(take(&mut &line[..]).unwrap(), recorded);
            for end in 0..line.len() {
                assert!(matches!(take(&mut &line[..end]), Err(ReplayError::Io(_))), "{end} of {recorded:?}");
            }
        }
    }

    #[test]
    fn damage_is_found_or_does_no_harm() {
        for line in samples().iter().map(written) {
            for at in 0..line.len() {
                for flip in [1, 0x80, 0xff] {
                    let mut line = line.clone();
                    line[at] ^= flip;
                    let _ = take(&mut &line[..]);
                }
            }
        }
        let unknown = |line: &[u8]| matches!(take(&mut &line[..]), Err(ReplayError::NotATape(_)));
        assert!(unknown(&[1, 1, 0, 9]), "no such deed");
        assert!(unknown(&[1, 1, 0, FAILED, 1, b'x']), "no such cause");
    }
}
