//! The PROXY protocol, versions 1 and 2: how a proxy in front tells where a connection really comes from.
//!
//! ```text
//! Waiting --whole header--> Found --poll_event--> Passed    (the next byte belongs to the next machine)
//!    |
//!    +--not a header, or cut--> Refused                     (no farewell: the sender is a proxy, not a browser)
//! ```
//!
//! Only connections of listeners that ask for it start with a header; there it is required, since a missing one would
//! let a client write its own. The machine keeps no bytes: it reads a header where it lies, once it is whole, and
//! refuses at the first byte that cannot belong to one. It has no deadline of its own, because the machine that
//! follows waits for its first bytes already.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::str::FromStr;

use crate::error::{Cause, Violation};
use crate::time::Instant;

/// The longest header of version 1, line end included (section 2.1).
pub const V1_MAX: usize = 107;

/// The longest header of version 2 that is accepted. Addresses need at most 232 bytes; the rest is room for the
/// extensions that proxies add (names of certificates, ids of connections), which are skipped.
pub const V2_MAX: usize = 2048;

/// First bytes of a header of version 1.
const V1_START: &[u8] = b"PROXY ";

/// First bytes of a header of version 2.
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of version 2 in front of the addresses: start, command, family and length.
const V2_FIXED: usize = 16;

/// What the header said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The header is complete; what follows it belongs to the connection it speaks of.
    ///
    /// Both addresses are known, or neither: a proxy's own connection (a health check), a Unix socket, or a protocol
    /// that the proxy does not name. Then the addresses of the connection itself hold.
    Done {
        /// Where the connection comes from.
        source: Option<SocketAddr>,
        /// Where it was going.
        destination: Option<SocketAddr>,
    },
}

/// How the header is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// Source and destination, if they are known.
type Addresses = Option<(SocketAddr, SocketAddr)>;

/// Reads the header at the start of one connection.
///
/// Offer all bytes that are there with [`receive`](Self::receive) until [`poll_event`](Self::poll_event) yields the
/// header or [`violation`](Self::violation) says that there is none; then close the connection.
#[derive(Debug)]
pub struct Header {
    state: State,
}

#[derive(Debug)]
enum State {
    Waiting,
    Found(Event),
    Passed,
    Refused(Cause),
}

impl Default for Header {
    fn default() -> Self {
        Self::new()
    }
}

impl Header {
    /// Waits for a header.
    pub const fn new() -> Self {
        Self { state: State::Waiting }
    }

    /// Takes bytes in and returns how many were consumed: none until the header is whole, then exactly the header.
    /// Offer the rest again, followed by newer bytes. After a violation everything is consumed and ignored.
    pub fn receive(&mut self, bytes: &[u8], _now: Instant) -> usize {
        match self.state {
            State::Waiting => {}
            State::Found(_) | State::Passed => return 0,
            State::Refused(_) => return bytes.len(),
        }
        match parse(bytes) {
            Ok(None) => 0,
            Ok(Some((used, addresses))) => {
                let (source, destination) = addresses.unzip();
                self.state = State::Found(Event::Done { source, destination });
                used
            }
            Err(Malformed) => {
                self.state = State::Refused(Cause::ProxyMalformed);
                bytes.len()
            }
        }
    }

    /// The connection ended: a violation if the header is not complete.
    pub fn receive_eof(&mut self, _now: Instant) {
        if matches!(self.state, State::Waiting) {
            self.state = State::Refused(Cause::MessageCut);
        }
    }

    /// Yields the header, once.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        let State::Found(event) = self.state else { return None };
        self.state = State::Passed;
        Some(event)
    }

    /// Why there is no header, if the peer is at fault: [`Cause::ProxyMalformed`], or [`Cause::MessageCut`] if it
    /// ended the connection first.
    pub fn violation(&self) -> Option<Violation> {
        match self.state {
            State::Refused(what) => Some(what.into()),
            State::Waiting | State::Found(_) | State::Passed => None,
        }
    }
}

/// Appends a header, as a proxy sends it. Without addresses it stands for the proxy's own connection. An IPv4
/// address beside an IPv6 one is written as a mapped IPv6 address.
pub fn encode(version: Version, addresses: Option<(SocketAddr, SocketAddr)>, out: &mut Vec<u8>) {
    match version {
        Version::V1 => encode_v1(addresses, out),
        Version::V2 => encode_v2(addresses, out),
    }
}

/// These bytes cannot be the start of a header.
struct Malformed;

/// Reads a header at the start of `bytes`; `None`: it is not complete.
fn parse(bytes: &[u8]) -> Result<Option<(usize, Addresses)>, Malformed> {
    if starts_like(bytes, V1_START) {
        return if bytes.len() < V1_START.len() { Ok(None) } else { parse_v1(bytes) };
    }
    if starts_like(bytes, V2_START) {
        return if bytes.len() < V2_FIXED { checked_v2_start(bytes) } else { parse_v2(bytes) };
    }
    Err(Malformed)
}

/// Whether the two agree as far as the shorter one goes.
fn starts_like(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(a, b)| a == b)
}

/// Section 2.1: one line of at most 107 bytes, fields separated by exactly one space.
fn parse_v1(bytes: &[u8]) -> Result<Option<(usize, Addresses)>, Malformed> {
    let window = &bytes[..bytes.len().min(V1_MAX)];
    let Some(end) = window.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return if bytes.len() < V1_MAX { Ok(None) } else { Err(Malformed) };
    };
    match window[end..] {
        [b'\r', b'\n', ..] => {}
        [b'\r'] if window.len() < V1_MAX => return Ok(None),
        _ => return Err(Malformed),
    }
    let line = core::str::from_utf8(&window[V1_START.len()..end]).map_err(|_| Malformed)?;
    let (protocol, rest) = line.split_once(' ').unwrap_or((line, ""));
    let addresses = match protocol {
        "TCP4" => Some(v1_addresses::<Ipv4Addr>(rest)?),
        "TCP6" => Some(v1_addresses::<Ipv6Addr>(rest)?),
        // Whatever follows must be ignored.
        "UNKNOWN" => None,
        _ => return Err(Malformed),
    };
    Ok(Some((end + 2, addresses)))
}

/// `SOURCE DESTINATION SOURCE-PORT DESTINATION-PORT`.
fn v1_addresses<A: FromStr + Into<IpAddr>>(text: &str) -> Result<(SocketAddr, SocketAddr), Malformed> {
    let mut words = text.split(' ');
    let mut word = || words.next().ok_or(Malformed);
    let (source, destination) = (v1_address::<A>(word()?)?, v1_address::<A>(word()?)?);
    let (source_port, destination_port) = (v1_port(word()?)?, v1_port(word()?)?);
    match words.next() {
        None => Ok((SocketAddr::new(source, source_port), SocketAddr::new(destination, destination_port))),
        Some(_) => Err(Malformed),
    }
}

fn v1_address<A: FromStr + Into<IpAddr>>(text: &str) -> Result<IpAddr, Malformed> {
    text.parse::<A>().map(Into::into).map_err(|_| Malformed)
}

/// Digits only, and no leading zeros (section 2.1).
fn v1_port(text: &str) -> Result<u16, Malformed> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if canonical { text.parse().map_err(|_| Malformed) } else { Err(Malformed) }
}

/// Refuses a version or command as soon as its byte is there.
fn checked_v2_start(bytes: &[u8]) -> Result<Option<(usize, Addresses)>, Malformed> {
    match bytes.get(V2_START.len()) {
        None | Some(0x20 | 0x21) => Ok(None),
        Some(_) => Err(Malformed),
    }
}

/// Section 2.2. `bytes` begins with the start and holds the fixed part.
fn parse_v2(bytes: &[u8]) -> Result<Option<(usize, Addresses)>, Malformed> {
    let (fixed, rest) = bytes.split_at(V2_FIXED);
    let proxied = match fixed[12] {
        // LOCAL: a connection of the proxy's own; whatever addresses it gives are to be ignored.
        0x20 => false,
        0x21 => true,
        _ => return Err(Malformed),
    };
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if V2_FIXED + length > V2_MAX {
        return Err(Malformed);
    }
    let (family, transport) = (fixed[13] >> 4, fixed[13] & 0x0f);
    let needed = match family {
        _ if !proxied => 0,
        0 => 0,
        1 => 12,
        2 => 36,
        3 => 216,
        _ => return Err(Malformed),
    };
    if length < needed || (proxied && transport > 2) {
        return Err(Malformed);
    }
    let Some(block) = rest.get(..length) else { return Ok(None) };
    // Datagrams cannot have come by this connection: their addresses say nothing about it.
    let addresses = match (proxied, family, transport) {
        (true, 1, 1) => v2_addresses::<4>(block),
        (true, 2, 1) => v2_addresses::<16>(block),
        _ => None,
    };
    Ok(Some((V2_FIXED + length, addresses)))
}

/// Two addresses of `N` bytes, then two ports.
fn v2_addresses<const N: usize>(block: &[u8]) -> Addresses
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = block.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk::<2>()?;
    let (destination_port, _) = rest.split_first_chunk::<2>()?;
    Some((
        SocketAddr::new(IpAddr::from(*source), u16::from_be_bytes(*source_port)),
        SocketAddr::new(IpAddr::from(*destination), u16::from_be_bytes(*destination_port)),
    ))
}

/// The two addresses in one family.
enum Pair {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

impl Pair {
    fn new(source: IpAddr, destination: IpAddr) -> Self {
        let mapped = |address: IpAddr| match address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Self::V4(source, destination),
            (source, destination) => Self::V6(mapped(source), mapped(destination)),
        }
    }
}

fn encode_v1(addresses: Addresses, out: &mut Vec<u8>) {
    let Some((source, destination)) = addresses else {
        return out.extend_from_slice(b"PROXY UNKNOWN\r\n");
    };
    let ports = format!("{} {}", source.port(), destination.port());
    let line = match Pair::new(source.ip(), destination.ip()) {
        Pair::V4(source, destination) => format!("PROXY TCP4 {source} {destination} {ports}\r\n"),
        Pair::V6(source, destination) => format!("PROXY TCP6 {source} {destination} {ports}\r\n"),
    };
    out.extend_from_slice(line.as_bytes());
}

fn encode_v2(addresses: Addresses, out: &mut Vec<u8>) {
    out.extend_from_slice(V2_START);
    let Some((source, destination)) = addresses else {
        return out.extend_from_slice(&[0x20, 0, 0, 0]);
    };
    match Pair::new(source.ip(), destination.ip()) {
        Pair::V4(source, destination) => {
            out.extend_from_slice(&[0x21, 0x11, 0, 12]);
            out.extend_from_slice(&source.octets());
            out.extend_from_slice(&destination.octets());
        }
        Pair::V6(source, destination) => {
            out.extend_from_slice(&[0x21, 0x21, 0, 36]);
            out.extend_from_slice(&source.octets());
            out.extend_from_slice(&destination.octets());
        }
    }
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::ZERO;

    /// What came of a header: the event or the violation, and where the next machine begins.
    #[derive(Debug, PartialEq)]
    struct Outcome {
        event: Option<Event>,
        refused: Option<Cause>,
        used: usize,
    }

    /// Feeds `bytes` in pieces of `step`, as a link does: what is not consumed is offered again with the next piece.
    fn feed(bytes: &[u8], step: usize) -> Outcome {
        let mut header = Header::new();
        let (mut used, mut event) = (0, None);
        let mut end = 0;
        while end < bytes.len() {
            end = bytes.len().min(end + step);
            used += header.receive(&bytes[used..end], NOW);
            event = event.or(header.poll_event());
            assert_eq!(header.poll_event(), None, "an event comes once");
        }
        let refused = header.violation().map(|violation| violation.what);
        Outcome { event, refused, used: if refused.is_some() { 0 } else { used } }
    }

    /// The vector whole, a byte at a time and in threes: the same outcome, whatever follows it.
    fn outcome(bytes: &[u8]) -> Outcome {
        let whole = feed(bytes, usize::MAX - bytes.len());
        for step in [1, 3] {
            assert_eq!(feed(bytes, step), whole, "pieces of {step}: {}", bytes.escape_ascii());
        }
        if whole.event.is_some() {
            let mut longer = bytes.to_vec();
            longer.extend_from_slice(b"\r\nGET / HTTP/1.1\r\n");
            assert_eq!(feed(&longer, usize::MAX / 2), whole, "with more behind it: {}", bytes.escape_ascii());
        }
        whole
    }

    fn accepted(bytes: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
        let outcome = outcome(bytes);
        assert_eq!(outcome.used, bytes.len(), "{}", bytes.escape_ascii());
        let Some(Event::Done { source, destination }) = outcome.event else {
            panic!("not accepted: {}", bytes.escape_ascii())
        };
        source.zip(destination)
    }

    fn assert_refused(bytes: &[u8]) {
        let outcome = outcome(bytes);
        assert_eq!(outcome.event, None, "{}", bytes.escape_ascii());
        assert_eq!(outcome.refused, Some(Cause::ProxyMalformed), "{}", bytes.escape_ascii());
    }

    fn pair(source: &str, destination: &str) -> Option<(SocketAddr, SocketAddr)> {
        Some((source.parse().unwrap(), destination.parse().unwrap()))
    }

    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let mut bytes = V2_START.to_vec();
        bytes.extend_from_slice(&[command, family]);
        bytes.extend_from_slice(&u16::try_from(block.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(block);
        bytes
    }

    #[test]
    fn version_1_gives_the_addresses_of_its_line() {
        let cases: [(&[u8], _); 6] = [
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 11 22\r\n", pair("1.2.3.4:11", "5.6.7.8:22")),
            (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 0\r\n", pair("255.255.255.255:65535", "255.255.255.255:0")),
            (b"PROXY TCP6 ::1 fe80::2 1 2\r\n", pair("[::1]:1", "[fe80::2]:2")),
            (b"PROXY UNKNOWN\r\n", None),
            (b"PROXY UNKNOWN ignored  words 99999\r\n", None),
            (
                b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
                None,
            ),
        ];
        for (bytes, addresses) in cases {
            assert_eq!(accepted(bytes), addresses, "{}", bytes.escape_ascii());
        }
        assert_eq!(cases[5].0.len(), V1_MAX, "the longest line that is allowed");
    }

    #[test]
    fn anything_else_in_version_1_is_refused() {
        let mut too_long = b"PROXY UNKNOWN ".to_vec();
        too_long.resize(V1_MAX - 1, b'x');
        too_long.extend_from_slice(b"\r\n");
        let cases: [&[u8]; 22] = [
            b"GET / HTTP/1.1\r\n",
            b"proxy TCP4 1.2.3.4 5.6.7.8 11 22\r\n",
            b"PROXY  TCP4 1.2.3.4 5.6.7.8 11 22\r\n",
            b"PROXY TCP4  1.2.3.4 5.6.7.8 11 22\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 11 22 \r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 11 22 33\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 11\r\n",
            b"PROXY TCP4\r\n",
            b"PROXY \r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 011 22\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 +11 22\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 65536 22\r\n",
            b"PROXY TCP4 1.2.3.04 5.6.7.8 11 22\r\n",
            b"PROXY TCP4 ::1 ::2 11 22\r\n",
            b"PROXY TCP6 1.2.3.4 5.6.7.8 11 22\r\n",
            b"PROXY TCP6 fe80::1%eth0 ::2 11 22\r\n",
            b"PROXY UDP4 1.2.3.4 5.6.7.8 11 22\r\n",
            b"PROXY UNKNOWNS\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 11 22\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 11 22\r\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 11 \xff\r\n",
            &too_long,
        ];
        for bytes in cases {
            assert_refused(bytes);
        }
    }

    #[test]
    fn version_2_gives_the_addresses_of_its_block_and_skips_extensions() {
        let v4 = [1, 2, 3, 4, 5, 6, 7, 8, 0x1f, 0x90, 0, 80];
        assert_eq!(accepted(&v2(0x21, 0x11, &v4)), pair("1.2.3.4:8080", "5.6.7.8:80"));
        let mut extended = v4.to_vec();
        extended.extend_from_slice(&[0x04, 0, 3, b'x', b'y', b'z']);
        assert_eq!(accepted(&v2(0x21, 0x11, &extended)), pair("1.2.3.4:8080", "5.6.7.8:80"));
        extended.resize(V2_MAX - V2_FIXED, 0);
        assert_eq!(accepted(&v2(0x21, 0x11, &extended)), pair("1.2.3.4:8080", "5.6.7.8:80"));

        let mut v6 = [0; 36];
        v6[15] = 1;
        v6[31] = 2;
        v6[33] = 7;
        v6[35] = 9;
        assert_eq!(accepted(&v2(0x21, 0x21, &v6)), pair("[::1]:7", "[::2]:9"));
    }

    #[test]
    fn version_2_without_usable_addresses_is_accepted() {
        for bytes in [
            v2(0x20, 0x00, &[]),
            v2(0x20, 0xff, b"whatever"),
            v2(0x20, 0x11, &[1; 12]),
            v2(0x21, 0x00, &[]),
            v2(0x21, 0x00, &[1; 40]),
            v2(0x21, 0x12, &[1; 12]),
            v2(0x21, 0x31, &[b'/'; 216]),
        ] {
            assert_eq!(accepted(&bytes), None, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn anything_else_in_version_2_is_refused() {
        for bytes in [
            v2(0x22, 0x11, &[0; 12]),
            v2(0x11, 0x11, &[0; 12]),
            v2(0x21, 0x11, &[0; 11]),
            v2(0x21, 0x21, &[0; 35]),
            v2(0x21, 0x31, &[0; 215]),
            v2(0x21, 0x41, &[0; 216]),
            v2(0x21, 0x13, &[0; 12]),
            v2(0x21, 0x11, &[0; V2_MAX - V2_FIXED + 1]),
            b"\r\n\r\n\0\r\nQUIT\r".to_vec(),
            b"\r\nGET / HTTP/1.1\r\n".to_vec(),
        ] {
            assert_refused(&bytes);
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for version in [Version::V1, Version::V2] {
            for addresses in [None, pair("1.2.3.4:5", "6.7.8.9:65535"), pair("[2001:db8::1]:0", "[::2]:443")] {
                let mut bytes = Vec::new();
                encode(version, addresses, &mut bytes);
                assert_eq!(accepted(&bytes), addresses, "{version:?}");
            }
            let mut bytes = Vec::new();
            encode(version, pair("1.2.3.4:5", "[::2]:6"), &mut bytes);
            assert_eq!(accepted(&bytes), pair("[::ffff:1.2.3.4]:5", "[::2]:6"), "{version:?}");
        }
    }

    #[test]
    fn a_refused_connection_consumes_and_ignores_everything() {
        let mut header = Header::new();
        assert_eq!(header.receive(b"nonsense", NOW), 8);
        assert_eq!(header.receive(b"PROXY UNKNOWN\r\n", NOW), 15);
        assert_eq!(header.poll_event(), None);
        header.receive_eof(NOW);
        assert_eq!(header.violation(), Some(Cause::ProxyMalformed.into()));
    }

    #[test]
    fn an_end_inside_the_header_is_a_violation_and_one_behind_it_is_not() {
        let mut header = Header::new();
        assert_eq!(header.receive(b"PROXY TCP4 1.2", NOW), 0);
        assert_eq!(header.violation(), None);
        header.receive_eof(NOW);
        assert_eq!(header.violation(), Some(Cause::MessageCut.into()));

        let mut header = Header::new();
        assert_eq!(header.receive(b"PROXY UNKNOWN\r\nGET", NOW), 15);
        header.receive_eof(NOW);
        assert_eq!(header.violation(), None);
        assert_eq!(header.poll_event(), Some(Event::Done { source: None, destination: None }));
        assert_eq!(header.receive(b"GET", NOW), 0, "what follows is not for this machine");
    }
}
