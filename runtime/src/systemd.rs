//! The service manager: sockets it opened for us, and word of our state to it.
//!
//! Sockets come as descriptors 3 and up (`LISTEN_FDS`, `LISTEN_PID`), word goes by datagrams to `NOTIFY_SOCKET`;
//! without these variables nobody is there. See sd_listen_fds(3) and sd_notify(3).

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};
use std::sync::Once;

use blastbeat_proto::address::BindAddr;
use rustix::io::FdFlags;
use rustix::net::{SocketType, sockopt};

use crate::net::Listener;

/// First descriptor that the service manager passes.
const FIRST: RawFd = 3;

/// More than anybody's configuration has.
const SOCKETS_MAX: RawFd = 4096;

/// Why the sockets that were passed cannot be used. Starting without them would mean to serve something else than the
/// operator asked for.
#[derive(Debug)]
pub enum Unusable {
    /// A descriptor is not a listening stream socket.
    NotListening(RawFd, io::Error),
    /// Nothing in the configuration has this address.
    Unmatched(BindAddr),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotListening(fd, why) => {
                write!(f, "descriptor {fd} of LISTEN_FDS is not a listening stream socket: {why}")
            }
            Self::Unmatched(address) => {
                write!(f, "LISTEN_FDS has a socket on {address}, which no `bind` or `zmq` of the configuration names")
            }
        }
    }
}

/// Takes the sockets that the service manager passed, each with the one of `configured` that it stands for. Call it
/// before the program opens anything; later calls find none.
///
/// # Errors
///
/// The first socket that cannot be used.
pub fn inherited(configured: &[BindAddr]) -> Result<Vec<(BindAddr, Listener)>, Unusable> {
    let variable = |name| env::var(name).unwrap_or_default();
    let count = count_for_us(&variable("LISTEN_PID"), &variable("LISTEN_FDS"), std::process::id());
    let mut free: BTreeSet<&BindAddr> = configured.iter().collect();
    take(count)
        .into_iter()
        .map(|(number, fd)| {
            let listener = listening(fd).map_err(|why| Unusable::NotListening(number, why))?;
            let address = listener.local_address().map_err(|why| Unusable::NotListening(number, why))?;
            let address = claim(&mut free, &address).ok_or(Unusable::Unmatched(address))?;
            Ok((address, listener))
        })
        .collect()
}

/// How many sockets were passed, and to us: a variable may have been meant for a parent.
fn count_for_us(pid: &str, count: &str, own_pid: u32) -> RawFd {
    match (pid.parse::<u32>(), count.parse::<RawFd>()) {
        (Ok(pid), Ok(count)) if pid == own_pid => count.clamp(0, SOCKETS_MAX),
        _ => 0,
    }
}

/// Takes `count` descriptors, the first time.
fn take(count: RawFd) -> Vec<(RawFd, OwnedFd)> {
    static TAKEN: Once = Once::new();
    let mut taken = Vec::new();
    TAKEN.call_once(|| {
        for number in FIRST..FIRST + count {
            // SAFETY: the service manager opened this descriptor for this process and nobody else has it: it is taken
            // once, before the program opens anything that outlives the call. One that is not open makes calls fail.
            #[expect(unsafe_code, reason = "std has no other way to own a descriptor that was passed by number")]
            let fd = unsafe { OwnedFd::from_raw_fd(number) };
            taken.push((number, fd));
        }
    });
    taken
}

/// Makes `fd` one of our listeners, if it is a listening stream socket.
fn listening(fd: OwnedFd) -> io::Result<Listener> {
    if sockopt::socket_type(&fd)? != SocketType::STREAM || !sockopt::socket_acceptconn(&fd)? {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    rustix::io::fcntl_setfd(&fd, FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&fd, true)?;
    if sockopt::socket_domain(&fd)? != rustix::net::AddressFamily::UNIX {
        sockopt::set_tcp_nodelay(&fd, true)?;
    }
    Ok(Listener::inherited(fd))
}

/// Takes out of `free` the address that a socket on `bound` stands for: its own, or `0.0.0.0` for a `[::]` that takes
/// IPv4 as well, as service managers open it for a bare port.
fn claim(free: &mut BTreeSet<&BindAddr>, bound: &BindAddr) -> Option<BindAddr> {
    let every_v4 = |port| BindAddr::Tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
    free.take(bound)
        .or_else(|| match bound {
            BindAddr::Tcp(address) if address.ip() == Ipv6Addr::UNSPECIFIED => free.take(&every_v4(address.port())),
            BindAddr::Tcp(_) | BindAddr::Unix(_) => None,
        })
        .cloned()
}

/// Word of our state to the service manager, or to nobody by default.
#[derive(Debug, Default)]
pub struct Notify(Option<UnixDatagram>);

impl Notify {
    /// Connects to the service manager, if there is one: while privileges are still there.
    ///
    /// # Errors
    ///
    /// There is one and it cannot be reached.
    pub fn connect() -> io::Result<Self> {
        match env::var_os("NOTIFY_SOCKET") {
            Some(path) if !path.is_empty() => Self::to(&path),
            Some(_) | None => Ok(Self::default()),
        }
    }

    /// A path, or `@` and a name of Linux's abstract name space.
    fn to(path: &OsStr) -> io::Result<Self> {
        let address = match path.as_bytes() {
            [b'@', name @ ..] => UnixAddr::from_abstract_name(name)?,
            _ => UnixAddr::from_pathname(path)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        socket.set_nonblocking(true)?;
        Ok(Self(Some(socket)))
    }

    /// The server serves.
    ///
    /// # Errors
    ///
    /// The word could not be sent.
    pub fn ready(&self) -> io::Result<()> {
        self.say("READY=1\nSTATUS=Serving")
    }

    /// The server finishes what is under way.
    ///
    /// # Errors
    ///
    /// The word could not be sent.
    pub fn stopping(&self) -> io::Result<()> {
        self.say("STOPPING=1\nSTATUS=Finishing what is under way")
    }

    fn say(&self, word: &str) -> io::Result<()> {
        let Some(socket) = &self.0 else { return Ok(()) };
        socket.send(word.as_bytes()).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::path::PathBuf;

    use super::*;
    use crate::scratch::Scratch;

    fn tcp(address: &str) -> BindAddr {
        BindAddr::Tcp(address.parse().unwrap())
    }

    #[test]
    fn sockets_for_another_process_are_left_alone() {
        assert_eq!(count_for_us("7", "2", 7), 2);
        assert_eq!(count_for_us("8", "2", 7), 0);
        assert_eq!(count_for_us("", "", 7), 0);
        assert_eq!(count_for_us("7", "-1", 7), 0);
        assert_eq!(count_for_us("7", "two", 7), 0);
        assert_eq!(count_for_us("7", "2000000000", 7), SOCKETS_MAX);
    }

    #[test]
    fn sockets_are_matched_to_the_configuration_by_their_address() {
        let configured = [tcp("127.0.0.1:80"), tcp("0.0.0.0:81"), BindAddr::Unix(PathBuf::from("/run/b"))];
        let mut free: BTreeSet<&BindAddr> = configured.iter().collect();
        assert_eq!(claim(&mut free, &tcp("127.0.0.1:80")), Some(tcp("127.0.0.1:80")));
        assert_eq!(claim(&mut free, &tcp("127.0.0.1:80")), None, "it has its socket");
        assert_eq!(claim(&mut free, &tcp("127.0.0.1:81")), None);
        assert_eq!(claim(&mut free, &tcp("[::]:81")), Some(tcp("0.0.0.0:81")));
        assert_eq!(claim(&mut free, &configured[2]), Some(configured[2].clone()));
        assert!(free.is_empty());
    }

    #[test]
    fn only_listening_stream_sockets_are_taken() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = BindAddr::Tcp(socket.local_addr().unwrap());
        let listener = listening(socket.into()).unwrap();
        assert_eq!(listener.local_address().unwrap(), address);
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(listening(UdpSocket::bind("127.0.0.1:0").unwrap().into()).is_err());
        assert!(listening(UnixDatagram::unbound().unwrap().into()).is_err());
        assert!(listening(io::pipe().unwrap().0.into()).is_err());
    }

    fn hears(receiver: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let length = receiver.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn the_service_manager_hears_of_start_and_stop() {
        let scratch = Scratch::new();
        let path = scratch.path("notify");
        let receiver = UnixDatagram::bind(&path).unwrap();
        let notify = Notify::to(path.as_os_str()).unwrap();
        notify.ready().unwrap();
        assert_eq!(hears(&receiver).lines().next(), Some("READY=1"));
        notify.stopping().unwrap();
        assert_eq!(hears(&receiver).lines().next(), Some("STOPPING=1"));
    }

    #[test]
    fn abstract_sockets_are_reached() {
        let name = format!("blastbeat-test-{}", std::process::id());
        let receiver = UnixDatagram::bind_addr(&UnixAddr::from_abstract_name(&name).unwrap()).unwrap();
        Notify::to(OsStr::new(&format!("@{name}"))).unwrap().ready().unwrap();
        assert_eq!(hears(&receiver).lines().next(), Some("READY=1"));
    }

    #[test]
    fn a_service_manager_that_is_not_there_is_an_error_and_none_is_not() {
        let scratch = Scratch::new();
        assert!(Notify::to(scratch.path("nobody").as_os_str()).is_err());
        Notify(None).ready().unwrap();
    }
}
