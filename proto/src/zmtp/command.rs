//! Commands (RFC 37, RFC 24): one frame each, a name and data.
//!
//! ```text
//! command  = name-size (1 octet) name data
//! READY    = *property               INITIATE = *property           WELCOME =
//! HELLO    = size username size password                            ERROR   = size reason
//! PING     = ttl (2 octets, tenths of a second) context (0..16)     PONG    = context
//! property = name-size (1 octet) name value-size (4 octets) value
//! ```

use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::frame::{COMMAND, Header, write_header};
use super::{Credentials, SocketType};
use crate::error::Cause;
use crate::rope::Rope;

/// Octets of a command's body that are read. Those of the mechanisms stay below 1 KiB; the rest is for metadata of a
/// peer's own.
pub(super) const COMMAND_BYTES_MAX: usize = 4096;

/// Properties of a peer. Six are in use anywhere.
const PROPERTIES_MAX: usize = 64;

/// Octets of the context that a PING may carry.
const CONTEXT_MAX: usize = 16;

/// A command received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    Ready(Metadata<'a>),
    Error,
    Hello {
        username: &'a [u8],
        password: &'a [u8],
    },
    Welcome,
    Initiate(Metadata<'a>),
    Ping {
        ttl: Option<Duration>,
        context: Context,
    },
    Pong,
    /// One that we do not know.
    Other,
}

impl<'a> Command<'a> {
    /// Finds the command whose frame begins `bytes` with `header`: its body, or `None` if it is not there in full.
    pub(super) fn body(bytes: &'a [u8], header: Header) -> Result<Option<&'a [u8]>, Cause> {
        if header.body > COMMAND_BYTES_MAX as u64 {
            return Err(Cause::CommandMalformed);
        }
        Ok(bytes.get(header.len..header.len + header.body as usize))
    }

    /// Reads the body of a command.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Cause> {
        let (name, data) = split_sized(body).ok_or(Cause::CommandMalformed)?;
        if name.is_empty() || !name.iter().all(u8::is_ascii_alphabetic) {
            return Err(Cause::CommandMalformed);
        }
        match name {
            b"READY" => Metadata::parse(data).map(Self::Ready),
            b"INITIATE" => Metadata::parse(data).map(Self::Initiate),
            b"ERROR" => exact(split_sized(data)).map(|_| Self::Error),
            b"WELCOME" if data.is_empty() => Ok(Self::Welcome),
            b"WELCOME" => Err(Cause::CommandMalformed),
            b"HELLO" => {
                let (username, rest) = split_sized(data).ok_or(Cause::CommandMalformed)?;
                let password = exact(split_sized(rest))?;
                Ok(Self::Hello { username, password })
            }
            b"PING" => {
                let (ttl, context) = data.split_first_chunk().ok_or(Cause::CommandMalformed)?;
                let ttl = u16::from_be_bytes(*ttl);
                let ttl = (ttl > 0).then(|| Duration::from_millis(100 * u64::from(ttl)));
                Ok(Self::Ping { ttl, context: Context::new(context)? })
            }
            b"PONG" => Ok(Self::Pong),
            _ => Ok(Self::Other),
        }
    }
}

/// What a PING wants to see again in its PONG.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    bytes: [u8; CONTEXT_MAX],
    len: u8,
}

impl Context {
    fn new(context: &[u8]) -> Result<Self, Cause> {
        let mut bytes = [0; CONTEXT_MAX];
        bytes.get_mut(..context.len()).ok_or(Cause::CommandMalformed)?.copy_from_slice(context);
        Ok(Self { bytes, len: context.len() as u8 })
    }
}

impl AsRef<[u8]> for Context {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len.into()]
    }
}

/// The properties that matter here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Metadata<'a> {
    pub(super) socket_type: Option<&'a [u8]>,
    pub(super) identity: &'a [u8],
}

impl<'a> Metadata<'a> {
    fn parse(mut data: &'a [u8]) -> Result<Self, Cause> {
        let is_name_byte = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(byte);
        let mut metadata = Self::default();
        let mut names: Vec<&[u8]> = Vec::new();
        while !data.is_empty() {
            let (name, rest) = split_sized(data).ok_or(Cause::CommandMalformed)?;
            let (size, rest) = rest.split_first_chunk().ok_or(Cause::CommandMalformed)?;
            // A size above 2^31 - 1 is ruled out, and is more than a command can hold in any case.
            let (value, rest) =
                rest.split_at_checked(u32::from_be_bytes(*size) as usize).ok_or(Cause::CommandMalformed)?;
            if name.is_empty()
                || !name.iter().all(is_name_byte)
                || names.len() == PROPERTIES_MAX
                || names.iter().any(|other| other.eq_ignore_ascii_case(name))
            {
                return Err(Cause::CommandMalformed);
            }
            if name.eq_ignore_ascii_case(b"Socket-Type") {
                metadata.socket_type = Some(value);
            } else if name.eq_ignore_ascii_case(b"Identity") {
                metadata.identity = value;
            }
            names.push(name);
            data = rest;
        }
        if metadata.identity.len() > 255 || metadata.identity.first() == Some(&0) {
            return Err(Cause::CommandMalformed);
        }
        Ok(metadata)
    }
}

impl SocketType {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Dealer => "DEALER",
            Self::Rep => "REP",
            Self::Req => "REQ",
            Self::Router => "ROUTER",
        }
    }

    /// Reads the Socket-Type property; `None` for sockets that ours never talk to.
    pub(super) fn from_property(value: &[u8]) -> Option<Self> {
        [Self::Dealer, Self::Rep, Self::Req, Self::Router].into_iter().find(|this| this.name().as_bytes() == value)
    }
}

/// Queues READY or INITIATE with our metadata.
pub(super) fn send_metadata(name: &str, socket_type: SocketType, identity: &Bytes, into: &mut Rope) {
    let mut data = Vec::new();
    for (name, value) in [("Socket-Type", socket_type.name().as_bytes()), ("Identity", identity)] {
        push_sized(&mut data, name.as_bytes());
        data.extend_from_slice(&(value.len() as u32).to_be_bytes());
        data.extend_from_slice(value);
    }
    send_command(name, &data, into);
}

/// Queues HELLO.
pub(super) fn send_hello(credentials: &Credentials, into: &mut Rope) {
    let mut data = Vec::new();
    push_sized(&mut data, &credentials.username);
    push_sized(&mut data, &credentials.password);
    send_command("HELLO", &data, into);
}

/// Queues WELCOME.
pub(super) fn send_welcome(into: &mut Rope) {
    send_command("WELCOME", b"", into);
}

/// Queues ERROR. Libzmq knows a failed authentication by the reason "400", from ZAP (RFC 27). (The PLAIN client of 4.3
/// takes any ERROR for an unexpected command; its handshake fails all the same, and it does not come back.)
pub(super) fn send_error(cause: Cause, into: &mut Rope) {
    let mut data = Vec::new();
    push_sized(&mut data, if cause == Cause::CredentialsRefused { b"400" } else { cause.name().as_bytes() });
    send_command("ERROR", &data, into);
}

/// Queues PING.
pub(super) fn send_ping(ttl: Duration, into: &mut Rope) {
    let tenths = u16::try_from(ttl.as_millis() / 100).unwrap_or(0);
    send_command("PING", &tenths.to_be_bytes(), into);
}

/// Queues PONG.
pub(super) fn send_pong(context: Context, into: &mut Rope) {
    send_command("PONG", context.as_ref(), into);
}

fn send_command(name: &str, data: &[u8], into: &mut Rope) {
    let body = 1 + name.len() + data.len();
    into.push_with(super::frame::header_len(body) + body, |tail| {
        write_header(tail, COMMAND, body);
        push_sized(tail, name.as_bytes());
        tail.extend_from_slice(data);
    });
}

/// Appends `bytes` behind one octet with their size. Everything that is said this way has at most 255 octets.
fn push_sized(into: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(255)];
    into.push(bytes.len() as u8);
    into.extend_from_slice(bytes);
}

/// Splits off what stands behind one octet with its size.
fn split_sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&size, rest) = bytes.split_first()?;
    rest.split_at_checked(size.into())
}

/// The first of a pair whose second must be empty.
fn exact<'a>(split: Option<(&'a [u8], &'a [u8])>) -> Result<&'a [u8], Cause> {
    match split {
        Some((bytes, [])) => Ok(bytes),
        Some(_) | None => Err(Cause::CommandMalformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    /// The body of the one command that `send` queues.
    fn body_of(send: impl FnOnce(&mut Rope)) -> Vec<u8> {
        let mut rope = Rope::new();
        send(&mut rope);
        let wire = rope.take();
        let header = Header::parse(&wire).unwrap().unwrap();
        assert!(header.is_command());
        let body = Command::body(&wire, header).unwrap().unwrap().to_vec();
        assert_eq!(header.len + body.len(), wire.len());
        body
    }

    #[test]
    fn commands_round_trip() {
        let identity = Bytes::from(vec![b'i'; 255]);
        let body = body_of(|rope| send_metadata("READY", SocketType::Router, &identity, rope));
        let Ok(Command::Ready(metadata)) = Command::parse(&body) else { panic!("{}", body.escape_ascii()) };
        assert_eq!(metadata, Metadata { socket_type: Some(b"ROUTER"), identity: &identity });
        assert_eq!(SocketType::from_property(b"ROUTER"), Some(SocketType::Router));

        let credentials = Credentials { username: "u".into(), password: Bytes::from(vec![b'p'; 255]) };
        let body = body_of(|rope| send_hello(&credentials, rope));
        assert_eq!(Command::parse(&body), Ok(Command::Hello { username: b"u", password: &credentials.password }));

        assert_eq!(Command::parse(&body_of(send_welcome)), Ok(Command::Welcome));
        assert_eq!(Command::parse(&body_of(|rope| send_error(Cause::CredentialsRefused, rope))), Ok(Command::Error),);
        let ping = body_of(|rope| send_ping(Duration::from_secs(30), rope));
        let context = Context::new(b"").unwrap();
        assert_eq!(Command::parse(&ping), Ok(Command::Ping { ttl: Some(Duration::from_secs(30)), context }));
        let pong = body_of(|rope| send_pong(Context::new(b"0123456789abcdef").unwrap(), rope));
        assert_eq!(pong, b"\x04PONG0123456789abcdef");
    }

    #[test]
    fn a_refusal_of_credentials_has_the_reason_that_libzmq_understands() {
        assert_eq!(body_of(|rope| send_error(Cause::CredentialsRefused, rope)), b"\x05ERROR\x03400");
        assert_eq!(body_of(|rope| send_error(Cause::IdentityUnknown, rope)), b"\x05ERROR\x10identity-unknown");
    }

    #[test]
    fn property_names_are_compared_without_case() {
        let body = b"\x05READY\x0bsOCKET-tYPE\0\0\0\x03REQ";
        assert_eq!(Command::parse(body), Ok(Command::Ready(Metadata { socket_type: Some(b"REQ"), identity: b"" })),);
    }

    #[test]
    fn an_unknown_command_is_known_as_such() {
        assert_eq!(Command::parse(b"\x09SUBSCRIBEtopic"), Ok(Command::Other));
    }

    #[test]
    fn malformed_commands_are_refused() {
        let long = [b"\x05READY\x08Identity\0\0\x01\0".as_slice(), &[b'x'; 256]].concat();
        for body in [
            b"".as_slice(),
            b"\0",
            b"\x06READY",
            b"\x05RE\0DY",
            b"\x05READY\x0bSocket-Type\0\0\0\x07DEALER",
            b"\x05READY\x0bSocket-Type\xff\xff\xff\xffDEALER",
            b"\x05READY\x0bSocket-Type\0\0\0",
            b"\x05READY\x0bSocket",
            b"\x05READY\0\0\0\0\0",
            b"\x05READY\x01 \0\0\0\0",
            b"\x05READY\x01a\0\0\0\0\x01A\0\0\0\0",
            b"\x05READY\x08Identity\0\0\0\x01\0",
            &long,
            b"\x05HELLO\x01u",
            b"\x05HELLO\x01u\x01pX",
            b"\x07WELCOME!",
            b"\x05ERROR",
            b"\x05ERROR\x03no",
            b"\x04PING\0",
            b"\x04PING\0\x000123456789abcdefg",
        ] {
            assert_eq!(Command::parse(body), Err(Cause::CommandMalformed), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn properties_are_bounded_in_number() {
        let body = |count: usize| {
            let property = |i| [b"\x03".as_slice(), format!("{i:03}").as_bytes(), b"\0\0\0\0"].concat();
            [b"\x05READY".to_vec(), (0..count).flat_map(property).collect()].concat()
        };
        assert!(Command::parse(&body(PROPERTIES_MAX)).is_ok());
        assert_eq!(Command::parse(&body(PROPERTIES_MAX + 1)), Err(Cause::CommandMalformed));
    }
}
