//! The values of keys: read from text, and written as text that is read back to the same value.
//!
//! Each reader's error says what is wrong and what would be right.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::path::{Path, PathBuf};

use crate::address::{Address, BindAddr};

/// The longest time that can be set; more is a slip of the pen.
const SECONDS_MAX: u64 = 1_000_000_000;

/// The longest path of a Unix socket on Linux, without its NUL.
const UNIX_PATH_MAX: usize = 107;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

/// Above this, a bare number for `memory` counts bytes.
const MEMORY_MIB_MAX: u64 = 1_048_576;

/// Reads a whole number of at least `min`.
pub(super) fn count(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let number = digits(text).ok_or_else(|| format!("{text:?} is not a whole number; write digits, such as 10"))?;
    in_range(number, min, max, "")
}

/// Reads a size in bytes, with an optional `k`, `m` or `g` (1,024 each) or `b`.
pub(super) fn size(text: &str, min: u64, max: u64) -> Result<u64, String> {
    in_range(scaled(text, 1)?, min, max, " bytes")
}

/// Reads the size of `memory`: in MiB as documented, in bytes where the number is too large for that, since
/// the original server took it so.
pub(super) fn memory(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let bare = match digits(text) {
        Some(number) if number > MEMORY_MIB_MAX => 1,
        Some(_) | None => MIB,
    };
    in_range(scaled(text, bare)?, min, max, " bytes")
}

/// Writes a size so that [`memory`] reads it back.
pub(super) fn show_memory(bytes: u64) -> String {
    if bytes.is_multiple_of(MIB) && bytes / MIB <= MEMORY_MIB_MAX {
        (bytes / MIB).to_string()
    } else {
        format!("{bytes}b")
    }
}

fn scaled(text: &str, bare: u64) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size; write a number, with k, m or g for larger units, such as 64k");
    let (number, unit) = match text.char_indices().next_back() {
        Some((at, 'b' | 'B')) => (&text[..at], 1),
        Some((at, 'k' | 'K')) => (&text[..at], KIB),
        Some((at, 'm' | 'M')) => (&text[..at], MIB),
        Some((at, 'g' | 'G')) => (&text[..at], GIB),
        Some(_) | None => (text, bare),
    };
    Ok(digits(number).ok_or_else(wrong)?.saturating_mul(unit))
}

fn in_range(number: u64, min: u64, max: u64, unit: &str) -> Result<u64, String> {
    if number < min {
        return Err(format!("{number} is too small; write at least {min}{unit}"));
    }
    if number > max {
        return Err(format!("{number} is too large; write at most {max}{unit}"));
    }
    Ok(number)
}

/// Digits only; numbers too large for 64 bits become the largest, which every range refuses that should.
fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

/// Reads seconds, with up to nine decimals.
pub(super) fn seconds(text: &str, zero_allowed: bool) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time; write seconds, such as 30 or 0.5");
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let whole = digits(whole).ok_or_else(wrong)?;
    if decimals.len() > 9 {
        return Err(format!("{text:?} has too many decimals; write at most nine"));
    }
    let nanos = digits(decimals).ok_or_else(wrong)? * 10u64.pow(9 - decimals.len() as u32);
    if whole >= SECONDS_MAX {
        return Err(format!("{text} seconds are too long; write less than {SECONDS_MAX}"));
    }
    let time = Duration::new(whole, nanos as u32);
    if time.is_zero() && !zero_allowed {
        return Err("0 seconds are no time at all; write more than 0".into());
    }
    Ok(time)
}

/// Writes seconds so that [`seconds`] reads them back.
pub(super) struct Seconds(pub(super) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.subsec_nanos() == 0 {
            return write!(f, "{}", self.0.as_secs());
        }
        let decimals = format!("{:09}", self.0.subsec_nanos());
        write!(f, "{}.{}", self.0.as_secs(), decimals.trim_end_matches('0'))
    }
}

/// Reads one of a few words.
pub(super) fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
    Err(format!("{text:?} is not a choice here; write {}", names.join(" or ")))
}

/// The word for a value.
pub(super) fn chosen<T: PartialEq>(value: &T, choices: &[(&'static str, T)]) -> &'static str {
    choices.iter().find(|(_, each)| each == value).map_or("", |(name, _)| name)
}

/// Reads a token, as names in HTTP are written (RFC 9110, 5.6.2).
pub(super) fn token(text: &str) -> Result<&str, String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.bytes().all(is_token) {
        return Ok(text);
    }
    Err(format!("{text:?} is not a name here; write letters, digits and such, with spaces between two names"))
}

/// Splits a value at its first run of spaces; the rest may have spaces of its own.
pub(super) fn first_word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    (word, super::ini::trim(rest))
}

/// The words of a value.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', '\t']).filter(|word| !word.is_empty())
}

/// Reads the address of a `bind`: `ADDR:PORT`, `[ADDR]:PORT` or `unix:PATH`.
pub(super) fn bind_address(text: &str) -> Result<BindAddr, String> {
    match text.strip_prefix("unix:") {
        Some(path) => unix_path(path).map(BindAddr::Unix),
        None => socket_address(text).map(BindAddr::Tcp),
    }
}

/// Reads the endpoint of a `zmq`: `tcp://ADDR:PORT` or `ipc://PATH`.
pub(super) fn zmq_endpoint(text: &str) -> Result<BindAddr, String> {
    if let Some(path) = text.strip_prefix("ipc://") {
        return unix_path(path).map(BindAddr::Unix);
    }
    let Some(address) = text.strip_prefix("tcp://") else { return Err(wrong_endpoint(text)) };
    match address.strip_suffix(":*") {
        Some(address) => socket_address(&format!("{address}:0")).map(BindAddr::Tcp),
        None => socket_address(address).map(BindAddr::Tcp),
    }
}

/// Writes an endpoint so that [`zmq_endpoint`] reads it back.
pub(super) fn show_zmq_endpoint(address: &BindAddr) -> String {
    match address {
        BindAddr::Tcp(address) => format!("tcp://{address}"),
        BindAddr::Unix(path) => format!("ipc://{}", path.display()),
    }
}

/// Reads an endpoint to connect to: `tcp://HOST:PORT` or `ipc://PATH`.
pub(super) fn dial_endpoint(text: &str) -> Result<Address, String> {
    if let Some(path) = text.strip_prefix("ipc://") {
        return unix_path(path).map(Address::Unix);
    }
    let Some(rest) = text.strip_prefix("tcp://") else { return Err(wrong_endpoint(text)) };
    let wrong = || format!("{text:?} has no host and port; write tcp://HOST:PORT");
    let (host, port) = rest.rsplit_once(':').ok_or_else(wrong)?;
    let port = match digits(port).map(u16::try_from) {
        Some(Ok(port)) if port > 0 => port,
        Some(_) | None => return Err(format!("{port:?} is not a port; write a number from 1 to 65535")),
    };
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let valid = match inner {
        Some(inner) => inner.contains(':') && inner.parse::<IpAddr>().is_ok(),
        None => !host.is_empty() && host.len() <= 253 && host.bytes().all(is_name_byte),
    };
    if !valid {
        return Err(format!("{host:?} is not a host; write a name, an IPv4 address, or an IPv6 address in brackets"));
    }
    Ok(Address::Tcp { host: inner.unwrap_or(host).to_owned(), port })
}

/// Writes an endpoint so that [`dial_endpoint`] reads it back.
pub(super) fn show_dial_endpoint(address: &Address) -> String {
    match address {
        Address::Tcp { .. } => format!("tcp://{address}"),
        Address::Unix(path) => format!("ipc://{}", path.display()),
    }
}

fn wrong_endpoint(text: &str) -> String {
    format!("{text:?} is not an endpoint; write tcp://ADDRESS:PORT or ipc://PATH")
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

fn unix_path(path: &str) -> Result<PathBuf, String> {
    if path.is_empty() {
        return Err(
            "the path of the socket is missing; write it behind the colon, such as unix:/run/blastbeat.sock".into()
        );
    }
    if path.starts_with('@') {
        return Err(format!("{path:?} is an abstract socket, which has no permissions; write the path of a file"));
    }
    if path.len() > UNIX_PATH_MAX {
        return Err(format!("the path of a socket has at most {UNIX_PATH_MAX} bytes; this one has {}", path.len()));
    }
    Ok(Path::new(path).to_owned())
}

/// Reads a numeric address and port. `*` is every IPv4 address, `localhost` is 127.0.0.1. IPv6 addresses
/// may stand without brackets, as the original server had them: the last colon separates the port.
fn socket_address(text: &str) -> Result<SocketAddr, String> {
    const FORMS: &str = "write ADDRESS:PORT with a numeric address, such as 127.0.0.1:8080, *:8080 or [::1]:8080";
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(format!("{text:?} has no port; {FORMS}"));
    };
    let Some(Ok(number)) = digits(port).map(u16::try_from) else {
        return Err(format!("{port:?} is not a port; write a number from 0 to 65535"));
    };
    if let Some((_, scope)) = host.trim_end_matches(']').split_once('%')
        && digits(scope).is_none()
    {
        return Err(format!("the interface {scope:?} is a name; write its number, as `ip link` shows it"));
    }
    match host {
        "*" => return Ok((Ipv4Addr::UNSPECIFIED, number).into()),
        "localhost" => return Ok((Ipv4Addr::LOCALHOST, number).into()),
        _ => {}
    }
    let bracketless = host.contains(':') && !host.starts_with('[');
    let parsed = if bracketless { format!("[{host}]:{number}").parse() } else { format!("{host}:{number}").parse() };
    parsed.map_err(|_| format!("{host:?} is not a numeric address; {FORMS}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_know_their_units_and_bounds() {
        assert_eq!(size("0", 0, 10), Ok(0));
        assert_eq!(size("64k", 0, u64::MAX), Ok(65_536));
        assert_eq!(size("2M", 0, u64::MAX), Ok(2 * 1024 * 1024));
        assert_eq!(size("1g", 0, u64::MAX), Ok(1 << 30));
        assert_eq!(size("7b", 0, u64::MAX), Ok(7));
        for text in ["", "k", "-1", "1.5k", "1 k", "0x10", "1kb", "1é", "99999999999999999999999999"] {
            assert!(size(text, 0, 1 << 40).is_err(), "{text}");
        }
        assert!(size("9", 10, 100).unwrap_err().contains("at least 10"));
        assert!(size("1k", 10, 100).unwrap_err().contains("at most 100"));
    }

    #[test]
    fn memory_counts_mebibytes_until_the_number_is_absurd() {
        assert_eq!(memory("2000", 0, u64::MAX), Ok(2000 << 20));
        assert_eq!(memory("1048576", 0, u64::MAX), Ok(1 << 40));
        assert_eq!(memory("2147483648", 0, u64::MAX), Ok(2_147_483_648));
        assert_eq!(memory("64k", 0, u64::MAX), Ok(65_536));
        for bytes in [1, 65_536, 1 << 20, 2_147_483_648, (1 << 40) + 1, 3 << 41] {
            assert_eq!(memory(&show_memory(bytes), 0, u64::MAX), Ok(bytes));
        }
    }

    #[test]
    fn times_are_exact() {
        for (text, time) in [
            ("3", Duration::from_secs(3)),
            ("3.0", Duration::from_secs(3)),
            ("0.25", Duration::from_millis(250)),
            ("1.000000001", Duration::new(1, 1)),
        ] {
            assert_eq!(seconds(text, false), Ok(time));
            assert_eq!(seconds(&Seconds(time).to_string(), false), Ok(time));
        }
        assert_eq!(seconds("0", true), Ok(Duration::ZERO));
        for text in ["", ".", "1.", ".5", "-1", "1e3", "inf", "nan", "1,5", "0", "1000000000", "1.0000000001"] {
            assert!(seconds(text, false).is_err(), "{text}");
        }
    }

    #[test]
    fn bind_addresses_have_several_forms() {
        for (text, address) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("*:8080", "0.0.0.0:8080"),
            ("localhost:80", "127.0.0.1:80"),
            ("[::1]:8080", "[::1]:8080"),
            ("::1:8081", "[::1]:8081"),
            (":::8081", "[::]:8081"),
            ("0:0:0:0:0:0:0:1:8081", "[::1]:8081"),
            ("fe80::1%3:8085", "[fe80::1%3]:8085"),
            ("[fe80::1%3]:8085", "[fe80::1%3]:8085"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("unix:/run/a.sock", "unix:/run/a.sock"),
        ] {
            let parsed = bind_address(text).unwrap();
            assert_eq!(parsed.to_string(), address);
            assert_eq!(bind_address(&parsed.to_string()), Ok(parsed), "it is read back");
        }
        for (text, hint) in [
            ("8080", "no port"),
            ("127.0.0.1", "no port"),
            ("127.0.0.1:", "not a port"),
            ("127.0.0.1:65536", "not a port"),
            ("example.com:80", "not a numeric address"),
            ("fe80::1%eth0:8085", "write its number"),
            ("[fe80::1%eth0]:8085", "write its number"),
            ("127.1:80", "not a numeric address"),
            ("::1", "not a numeric address"),
            ("[::1:80", "not a numeric address"),
            ("unix:", "missing"),
            ("unix:@name", "abstract"),
        ] {
            let message = bind_address(text).unwrap_err();
            assert!(message.contains(hint), "{text}: {message}");
        }
        assert!(bind_address(&format!("unix:/{}", "x".repeat(107))).is_err());
    }

    #[test]
    fn endpoints_have_a_transport() {
        for (text, canonical) in [
            ("tcp://127.0.0.1:5000", "tcp://127.0.0.1:5000"),
            ("tcp://*:5000", "tcp://0.0.0.0:5000"),
            ("tcp://127.0.0.1:*", "tcp://127.0.0.1:0"),
            ("tcp://[::1]:5000", "tcp://[::1]:5000"),
            ("ipc:///run/nodes.sock", "ipc:///run/nodes.sock"),
        ] {
            let parsed = zmq_endpoint(text).unwrap();
            assert_eq!(show_zmq_endpoint(&parsed), canonical);
            assert_eq!(zmq_endpoint(canonical), Ok(parsed));
        }
        for text in ["127.0.0.1:5000", "inproc://x", "tcp://eth0:5000", "ipc://", "tcp://"] {
            assert!(zmq_endpoint(text).is_err(), "{text}");
        }
        for text in ["tcp://node.example:5000", "tcp://10.0.0.1:5000", "tcp://[::1]:5000", "ipc:///run/node.sock"] {
            let parsed = dial_endpoint(text).unwrap();
            assert_eq!(show_dial_endpoint(&parsed), text);
        }
        for text in ["tcp://*:5000", "tcp://a:0", "tcp://:5000", "tcp://a b:1", "tcp://::1:5000", "tcp://a;b:1", "a:1"]
        {
            assert!(dial_endpoint(text).is_err(), "{text}");
        }
    }
}
