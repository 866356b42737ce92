//! Values on a tape: pairs of put and take.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use std::io::{self, Read};

use super::ReplayError;
use crate::address::{BindAddr, PeerAddr};
use crate::engine::LinkId;

/// Longest text or payload in a tape; a longer one means that the file is no tape.
pub(super) const ITEM_MAX: u64 = 64 * 1024 * 1024;

/// LEB128.
pub(super) fn put_number(line: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        line.push(number as u8 | 0x80);
        number >>= 7;
    }
    line.push(number as u8);
}

pub(super) fn number(tape: &mut dyn Read) -> Result<u64, ReplayError> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = byte(tape)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(ReplayError::NotATape("a number is too long"))
}

/// A number of bytes.
pub(super) fn size(tape: &mut dyn Read) -> Result<usize, ReplayError> {
    let size = number(tape)?;
    if size > ITEM_MAX { Err(ReplayError::NotATape("an item is too long")) } else { Ok(size as usize) }
}

/// What bytes hash to.
pub(super) fn digest_on(tape: &mut dyn Read) -> Result<u64, ReplayError> {
    let mut digest = [0; 8];
    tape.read_exact(&mut digest)?;
    Ok(u64::from_le_bytes(digest))
}

pub(super) fn byte(tape: &mut dyn Read) -> Result<u8, ReplayError> {
    let mut byte = [0];
    tape.read_exact(&mut byte)?;
    Ok(byte[0])
}

pub(super) fn put_bytes(line: &mut Vec<u8>, bytes: &[u8]) {
    put_number(line, bytes.len() as u64);
    line.extend_from_slice(bytes);
}

pub(super) fn bytes(tape: &mut dyn Read) -> Result<Vec<u8>, ReplayError> {
    let len = size(tape)?;
    let mut bytes = Vec::new();
    if tape.take(len as u64).read_to_end(&mut bytes)? < len {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(bytes)
}

pub(super) fn put_link(line: &mut Vec<u8>, link: LinkId) {
    put_number(line, link.slot.into());
    put_number(line, link.generation.into());
}

pub(super) fn link(tape: &mut dyn Read) -> Result<LinkId, ReplayError> {
    Ok(LinkId { slot: number(tape)? as u32, generation: number(tape)? as u32 })
}

pub(super) fn put_peer(line: &mut Vec<u8>, peer: PeerAddr) {
    match peer {
        PeerAddr::Ip(address) => put_bytes(line, address.to_string().as_bytes()),
        PeerAddr::Unix => put_bytes(line, b""),
    }
}

pub(super) fn peer(tape: &mut dyn Read) -> Result<PeerAddr, ReplayError> {
    let text = bytes(tape)?;
    if text.is_empty() {
        return Ok(PeerAddr::Unix);
    }
    Ok(PeerAddr::Ip(socket_address(&text)?))
}

pub(super) fn put_bind(line: &mut Vec<u8>, address: &BindAddr) {
    match address {
        BindAddr::Tcp(address) => put_bytes(line, address.to_string().as_bytes()),
        // Only the port of an address matters to the engine.
        BindAddr::Unix(_) => put_bytes(line, b""),
    }
}

pub(super) fn bind(tape: &mut dyn Read) -> Result<BindAddr, ReplayError> {
    let text = bytes(tape)?;
    if text.is_empty() {
        return Ok(BindAddr::Unix("unix".into()));
    }
    Ok(BindAddr::Tcp(socket_address(&text)?))
}

pub(super) fn socket_address(text: &[u8]) -> Result<SocketAddr, ReplayError> {
    let text = core::str::from_utf8(text).map_err(|_| ReplayError::NotATape("an address is damaged"))?;
    // The scope of a link-local address prints as a number and parses back.
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(|ip| (ip, 0).into()))
        .map_err(|_| ReplayError::NotATape("an address is damaged"))
}

/// The errors that the system gives for sockets; all others are recorded as one.
const KINDS: [io::ErrorKind; 12] = [
    io::ErrorKind::Other,
    io::ErrorKind::ConnectionRefused,
    io::ErrorKind::ConnectionReset,
    io::ErrorKind::ConnectionAborted,
    io::ErrorKind::NotConnected,
    io::ErrorKind::BrokenPipe,
    io::ErrorKind::TimedOut,
    io::ErrorKind::AddrInUse,
    io::ErrorKind::AddrNotAvailable,
    io::ErrorKind::PermissionDenied,
    io::ErrorKind::NotFound,
    io::ErrorKind::HostUnreachable,
];

/// Never zero, which stands for success.
pub(super) fn code_of(kind: io::ErrorKind) -> u8 {
    KINDS.iter().position(|known| *known == kind).unwrap_or(0) as u8 + 1
}

pub(super) fn kind_of(code: u8) -> Option<io::ErrorKind> {
    match code {
        0 => None,
        code => Some(KINDS.get(code as usize - 1).copied().unwrap_or(io::ErrorKind::Other)),
    }
}
