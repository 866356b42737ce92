//! What client and server agree on for permessage-deflate (RFC 7692, 7.1).

use alloc::string::String;
use core::fmt::Write;

use crate::http::tokens;

const NAME: &str = "permessage-deflate";
const SERVER_NO_CONTEXT: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT: &str = "client_no_context_takeover";
const SERVER_WINDOW: &str = "server_max_window_bits";
const CLIENT_WINDOW: &str = "client_max_window_bits";

/// The largest window, which is meant where nothing is said.
pub(super) const WINDOW_BITS_MAX: u8 = 15;

/// The smallest window that we can compress with: zlib makes no raw stream with 8.
pub(super) const WINDOW_BITS_MIN: u8 = 9;

/// How a server compresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DeflatePolicy {
    /// Not at all.
    #[default]
    Off,
    /// Each message by itself: no memory is held between two messages, and one that goes to many is compressed once.
    PerMessage,
    /// With what came before, unless the client does not want that.
    Context,
}

/// The parameters of permessage-deflate, agreed on, or as a client offers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Deflate {
    /// The server compresses each message by itself.
    pub server_no_context_takeover: bool,
    /// The client compresses each message by itself.
    pub client_no_context_takeover: bool,
    /// The logarithm of the server's window, 9 to 15; `None` where nothing is said, which means 15.
    pub server_max_window_bits: Option<u8>,
    /// The client's; in an offer, `None` says that the server may not bound it.
    pub client_max_window_bits: Option<u8>,
}

impl Deflate {
    /// The server's answer, as the value of Sec-WebSocket-Extensions.
    pub(super) fn answer(self) -> String {
        let mut text = self.beginning();
        if let Some(bits) = self.client_max_window_bits {
            push_bits(&mut text, CLIENT_WINDOW, bits);
        }
        text
    }

    /// The client's offer, as the value of Sec-WebSocket-Extensions.
    pub(super) fn offer(self) -> String {
        let mut text = self.beginning();
        match self.client_max_window_bits {
            None => {}
            Some(WINDOW_BITS_MAX) => {
                text.push_str("; ");
                text.push_str(CLIENT_WINDOW);
            }
            Some(bits) => push_bits(&mut text, CLIENT_WINDOW, bits),
        }
        text
    }

    fn beginning(self) -> String {
        let mut text = String::from(NAME);
        for (set, name) in
            [(self.server_no_context_takeover, SERVER_NO_CONTEXT), (self.client_no_context_takeover, CLIENT_NO_CONTEXT)]
        {
            if set {
                text.push_str("; ");
                text.push_str(name);
            }
        }
        if let Some(bits) = self.server_max_window_bits {
            push_bits(&mut text, SERVER_WINDOW, bits);
        }
        text
    }

    /// Whether a server that answers so to this offer keeps to it.
    fn admits(self, answer: Self) -> bool {
        let within = |answer: Option<u8>, offer: Option<u8>| match (answer, offer) {
            (Some(answer), Some(offer)) => answer <= offer,
            (None, Some(_)) => false,
            (_, None) => true,
        };
        let client_window = match (answer.client_max_window_bits, self.client_max_window_bits) {
            (Some(answer), Some(offer)) => (WINDOW_BITS_MIN..=offer).contains(&answer),
            (Some(_), None) => false,
            (None, _) => true,
        };
        (answer.server_no_context_takeover || !self.server_no_context_takeover)
            && within(answer.server_max_window_bits, self.server_max_window_bits)
            && client_window
    }
}

fn push_bits(text: &mut String, name: &str, bits: u8) {
    write!(text, "; {name}={bits}").expect("a string takes all that is written to it");
}

/// Whether the values of Sec-WebSocket-Extensions follow the grammar (RFC 6455, 9.1).
pub(super) fn is_sound<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> bool {
    values.all(|value| tokens(value).all(|extension| Extension::parse(extension).is_some()))
}

/// What the server answers to a client's offers: the first that it can do (RFC 7692, 5).
pub(super) fn choose<'a>(values: impl Iterator<Item = &'a [u8]>, policy: DeflatePolicy) -> Option<Deflate> {
    let per_message = match policy {
        DeflatePolicy::Off => return None,
        DeflatePolicy::PerMessage => true,
        DeflatePolicy::Context => false,
    };
    let offer = extensions(values).flatten().filter(Extension::is_deflate).find_map(|extension| {
        let offer = extension.deflate()?;
        // Nothing here makes a window of 8 bits.
        (offer.server_max_window_bits != Some(8)).then_some(offer)
    })?;
    Some(Deflate {
        server_no_context_takeover: offer.server_no_context_takeover || per_message,
        client_no_context_takeover: offer.client_no_context_takeover || per_message,
        server_max_window_bits: offer.server_max_window_bits,
        // Whatever the client uses can be decompressed.
        client_max_window_bits: None,
    })
}

/// What a server's answer to `offered` means; `None` if it is not one.
pub(super) fn settle<'a>(values: impl Iterator<Item = &'a [u8]>, offered: Option<Deflate>) -> Option<Option<Deflate>> {
    let mut extensions = extensions(values);
    let Some(first) = extensions.next() else { return Some(None) };
    if extensions.next().is_some() {
        return None;
    }
    let answer = first.filter(Extension::is_deflate)?;
    // A window in an answer has a number.
    if answer.parameters().any(|parameter| matches!(parameter, Some((CLIENT_WINDOW, None)))) {
        return None;
    }
    let answer = answer.deflate()?;
    offered?.admits(answer).then_some(Some(answer))
}

fn extensions<'a>(values: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = Option<Extension<'a>>> {
    values.flat_map(|value| tokens(value).map(Extension::parse))
}

/// One extension in a list, its parameters not yet looked at. All values are tokens, even those in quotes, so commas,
/// semicolons and equals signs separate wherever they stand.
struct Extension<'a> {
    name: &'a str,
    parameters: Option<&'a str>,
}

impl<'a> Extension<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        let text = core::str::from_utf8(text).ok()?;
        let (name, parameters) = match text.split_once(';') {
            Some((name, parameters)) => (name, Some(parameters)),
            None => (text, None),
        };
        let extension = Self { name: name.trim_ascii(), parameters };
        let sound = is_token(extension.name.as_bytes()) && extension.parameters().all(|parameter| parameter.is_some());
        sound.then_some(extension)
    }

    fn is_deflate(&self) -> bool {
        self.name.eq_ignore_ascii_case(NAME)
    }

    /// Names and values; `None` for what is neither.
    fn parameters(&self) -> impl Iterator<Item = Option<(&'a str, Option<&'a str>)>> + use<'a> {
        self.parameters.into_iter().flat_map(|text| text.split(';')).map(|parameter| {
            let (name, value) = match parameter.split_once('=') {
                Some((name, value)) => (name.trim_ascii(), Some(unquoted(value.trim_ascii())?)),
                None => (parameter.trim_ascii(), None),
            };
            is_token(name.as_bytes()).then_some((name, value))
        })
    }

    /// The parameters of permessage-deflate; `None` if one is unknown, repeated, or has a value that it cannot have
    /// (RFC 7692, 7).
    fn deflate(&self) -> Option<Deflate> {
        let mut deflate = Deflate::default();
        for parameter in self.parameters() {
            let (name, value) = parameter?;
            match (name, value) {
                (SERVER_NO_CONTEXT, None) if !deflate.server_no_context_takeover => {
                    deflate.server_no_context_takeover = true;
                }
                (CLIENT_NO_CONTEXT, None) if !deflate.client_no_context_takeover => {
                    deflate.client_no_context_takeover = true;
                }
                (SERVER_WINDOW, Some(bits)) if deflate.server_max_window_bits.is_none() => {
                    deflate.server_max_window_bits = Some(window_bits(bits)?);
                }
                (CLIENT_WINDOW, bits) if deflate.client_max_window_bits.is_none() => {
                    deflate.client_max_window_bits = Some(bits.map_or(Some(WINDOW_BITS_MAX), window_bits)?);
                }
                _ => return None,
            }
        }
        Some(deflate)
    }
}

/// 8 to 15, without leading zeros.
fn window_bits(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// A value without its quotes, if it is a token.
fn unquoted(value: &str) -> Option<&str> {
    let value = match value.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"')?,
        None => value,
    };
    is_token(value.as_bytes()).then_some(value)
}

/// Whether this is a token (RFC 9110, 5.6.2).
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}
