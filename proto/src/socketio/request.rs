//! What a request asks for: which generation by which transport, of which connection.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Generation, Id, Layer, Settings, Transport, query};
use crate::error::Cause;

/// A path and what is spoken there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Such as `/socket.io/`, with the slash at its end. Requests without that slash are meant too.
    pub path: String,
    /// What its messages carry. Generation [`One`](Generation::One) is socket.io alone.
    pub layer: Layer,
    /// What is spoken.
    pub generations: Vec<Generation>,
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What the client speaks.
    pub generation: Generation,
    /// What its messages carry.
    pub layer: Layer,
    /// By what. The handshake of [`One`](Generation::One) is said to poll.
    pub transport: Transport,
    /// Of which connection; `None`: of a new one.
    pub id: Option<Id>,
    /// The client wants the connection to end (`?disconnect` of [`One`](Generation::One)).
    pub ends: bool,
    /// The number of the function that takes the answer, where it is to be a script.
    pub jsonp: Option<u32>,
    /// The client takes no binary payloads (`b64` of [`Two`](Generation::Two)); true for generations that have none.
    pub base64: bool,
}

/// Why a request is refused, in the protocol's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What statistics and logs show.
    pub cause: Cause,
    /// The number that the protocol has for it.
    pub code: u8,
    /// Its words for it.
    pub message: &'static str,
}

impl Refusal {
    /// The transport is unknown, or switched off.
    pub const TRANSPORT_UNKNOWN: Self = Self { cause: Cause::TransportUnknown, code: 0, message: "Transport unknown" };
    /// No connection has this id.
    pub const SESSION_UNKNOWN: Self = Self { cause: Cause::SessionUnknown, code: 1, message: "Session ID unknown" };
    /// A handshake is a GET.
    pub const HANDSHAKE_METHOD: Self = Self { cause: Cause::HandshakeMethod, code: 2, message: "Bad handshake method" };
    /// Whatever has no number of its own.
    pub const BAD_REQUEST: Self = Self { cause: Cause::RequestMalformed, code: 3, message: "Bad request" };
    /// Pages of this origin may not connect here.
    pub const FORBIDDEN: Self = Self { cause: Cause::OriginRefused, code: 4, message: "Forbidden" };
    /// The version of Engine.IO is unknown, or switched off.
    pub const VERSION_UNSUPPORTED: Self =
        Self { cause: Cause::GenerationUnsupported, code: 5, message: "Unsupported protocol version" };

    /// The body of the answer, JSON.
    pub fn body(&self) -> String {
        format!("{{\"code\":{},\"message\":\"{}\"}}", self.code, self.message)
    }
}

/// What generation One calls the ways to poll, and the WebSocket.
const TRANSPORTS_ONE: &str = "websocket,xhr-polling,jsonp-polling";

/// Reads a request's target; `None` if it is under none of these paths. `method` and whether it is a request for a
/// WebSocket are checked against what is asked for; OPTIONS passes.
///
/// The checks come in the order in which socket.io's own server makes them; the version is one of a handshake only:
/// later on the id decides what is spoken, and [`Asked::generation`] is a guess where the request does not tell.
pub fn read(target: &[u8], method: &[u8], is_websocket: bool, mounts: &[Mount]) -> Option<Result<Asked, Refusal>> {
    let target = origin_form(target);
    let query_at = target.iter().position(|&byte| byte == b'?').unwrap_or(target.len());
    let (path, query) = (&target[..query_at], target.get(query_at + 1..).unwrap_or_default());
    let act = Act { method, is_websocket };
    mounts.iter().find_map(|mount| {
        let base = mount.path.strip_suffix('/').unwrap_or(&mount.path);
        let rest = path.strip_prefix(base.as_bytes())?;
        let has_one = mount.layer == Layer::SocketIo && mount.generations.contains(&Generation::One);
        match rest {
            b"" | b"/" => Some(read_query(query, act, mount)),
            b"/1" | [b'/', b'1', b'/', ..] if has_one => Some(read_path(rest.get(3..).unwrap_or_default(), query, act)),
            _ => None,
        }
    })
}

/// What the request does, beside its target.
#[derive(Clone, Copy)]
struct Act<'a> {
    method: &'a [u8],
    is_websocket: bool,
}

impl Act<'_> {
    fn is_preflight(self) -> bool {
        self.method == b"OPTIONS"
    }

    /// Whether a connection can begin so.
    fn may_begin(self) -> bool {
        self.is_websocket || self.is_preflight() || self.method == b"GET"
    }

    /// Whether the request moves packets by this transport.
    fn fits(self, transport: Transport) -> bool {
        match transport {
            Transport::WebSocket => self.is_websocket || self.is_preflight(),
            Transport::Polling => !self.is_websocket && (self.may_begin() || self.method == b"POST"),
        }
    }
}

/// The path and query of a target that names its host too (RFC 9112, 3.2.2).
fn origin_form(target: &[u8]) -> &[u8] {
    let Some(scheme) = memchr::memmem::find(target, b"://").filter(|_| !target.starts_with(b"/")) else {
        return target;
    };
    let authority = &target[scheme + 3..];
    let path = authority.iter().position(|byte| b"/?".contains(byte)).unwrap_or(authority.len());
    &authority[path..]
}

/// Reads what the generations Five and Two ask for: all of it is in the query.
fn read_query(query: &[u8], act: Act<'_>, mount: &Mount) -> Result<Asked, Refusal> {
    let (mut transport, mut id, mut version, mut number) = (None, None, None, None);
    let mut base64 = false;
    for (name, value) in query::pairs(query) {
        match &*name {
            "transport" => transport = Some(value),
            "sid" if !value.is_empty() => id = Some(Id::from_text(value.as_bytes())),
            "EIO" => version = Some(value),
            "j" => number = Some(value),
            "b64" => base64 = !value.is_empty(),
            _ => {}
        }
    }
    let transport = match transport.as_deref() {
        Some("polling") => Transport::Polling,
        Some("websocket") => Transport::WebSocket,
        Some(_) | None => return Err(Refusal::TRANSPORT_UNKNOWN),
    };
    let id = match id {
        Some(None) => return Err(Refusal::SESSION_UNKNOWN),
        Some(Some(id)) => Some(id),
        None => None,
    };
    if id.is_none() && !act.may_begin() {
        return Err(Refusal::HANDSHAKE_METHOD);
    }
    if !act.fits(transport) {
        return Err(Refusal::BAD_REQUEST);
    }
    let spoken = match version.as_deref() {
        Some("4") => Some(Generation::Five),
        Some("3") => Some(Generation::Two),
        Some(_) | None => None,
    };
    let is_served = |generation: &Generation| mount.generations.contains(generation);
    let generation = match (spoken.filter(is_served), id) {
        (Some(generation), _) => generation,
        (None, Some(_)) if is_served(&Generation::Five) => Generation::Five,
        (None, Some(_)) => Generation::Two,
        (None, None) => return Err(Refusal::VERSION_UNSUPPORTED),
    };
    let may_be_script = generation == Generation::Two && transport == Transport::Polling;
    let jsonp = match number.filter(|_| may_be_script) {
        Some(number) => Some(read_number(&number)?),
        None => None,
    };
    let base64 = base64 || jsonp.is_some() || generation != Generation::Two;
    Ok(Asked { generation, layer: mount.layer, transport, id, ends: false, jsonp, base64 })
}

/// Reads what generation One asks for: `[TRANSPORT/ID[/...]][?...]`.
fn read_path(path: &[u8], query: &[u8], act: Act<'_>) -> Result<Asked, Refusal> {
    let (mut ends, mut handshake_number, mut poll_number) = (false, None, None);
    for (name, value) in query::pairs(query) {
        match &*name {
            "disconnect" => ends = true,
            "jsonp" => handshake_number = Some(value),
            "i" => poll_number = Some(value),
            _ => {}
        }
    }
    let mut parts = path.split(|&byte| byte == b'/');
    let name = parts.next().unwrap_or_default();
    let id = parts.next().unwrap_or_default();
    let asked = Asked {
        generation: Generation::One,
        layer: Layer::SocketIo,
        transport: Transport::Polling,
        id: None,
        ends,
        jsonp: None,
        base64: true,
    };
    if name.is_empty() && id.is_empty() {
        if !act.may_begin() {
            return Err(Refusal::HANDSHAKE_METHOD);
        }
        if act.is_websocket || ends {
            return Err(Refusal::BAD_REQUEST);
        }
        let jsonp = handshake_number.as_deref().map(read_number).transpose()?;
        return Ok(Asked { jsonp, ..asked });
    }
    let (transport, number) = match name {
        b"websocket" => (Transport::WebSocket, None),
        b"xhr-polling" => (Transport::Polling, None),
        b"jsonp-polling" => (Transport::Polling, Some(poll_number.map_or(Ok(0), |number| read_number(&number))?)),
        _ if ends => (Transport::Polling, None),
        _ => return Err(Refusal::TRANSPORT_UNKNOWN),
    };
    let id = Some(Id::from_text(id).ok_or(Refusal::SESSION_UNKNOWN)?);
    if ends {
        // By whatever transport: it is a request that is answered at once.
        let fits = act.fits(Transport::Polling);
        return if fits { Ok(Asked { id, ..asked }) } else { Err(Refusal::BAD_REQUEST) };
    }
    if !act.fits(transport) {
        return Err(Refusal::BAD_REQUEST);
    }
    Ok(Asked { transport, id, jsonp: number, ..asked })
}

/// The number of a function: digits only.
fn read_number(text: &str) -> Result<u32, Refusal> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number).ok_or(Refusal::BAD_REQUEST)
}

/// The answer to a handshake of generation [`One`](Generation::One): id, timeouts in seconds and transports. A client
/// that hears nothing for an interval and a timeout gives up.
pub fn handshake_line(id: Id, settings: &Settings) -> String {
    let silence = settings.ping_interval.saturating_add(settings.ping_timeout);
    let seconds = silence.as_millis().div_ceil(1000);
    format!("{id}:{seconds}:{seconds}:{TRANSPORTS_ONE}")
}

#[cfg(test)]
mod tests;
