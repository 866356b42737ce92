//! Sockets, as both drivers use them: non-blocking, closed on exec, one descriptor wide.
//!
//! A [`Listener`] gives [`Stream`]s, [`connect`] starts one. Both types are `AsFd`, so that a driver can register them
//! with whatever tells it of readiness. Every call is one system call.

use std::fs;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use blastbeat_proto::address::{BindAddr, PeerAddr};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, acceptfrom_with, bind,
    getsockname, socket_with, sockopt,
};

/// Connections that the system keeps for us until we accept them; it may allow fewer (`net.core.somaxconn`).
pub const BACKLOG: i32 = 4096;

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// Where an outgoing connection goes: an address whose names are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// A connected stream socket, or one that is being connected.
#[derive(Debug)]
pub struct Stream(OwnedFd);

impl Stream {
    /// Reads into `buffer`; 0 is the end of the peer's stream.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if nothing is there, `Interrupted` if a signal came; anything else is the end of the connection.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::net::recv(&self.0, buffer, RecvFlags::empty())?.0)
    }

    /// Writes as much of `slices` as the system takes.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if it takes nothing now, `Interrupted` if a signal came; anything else is the end of the connection.
    pub fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(match slices {
            // The usual case, and cheaper: the system need not copy a list.
            [one] => rustix::net::send(&self.0, one, SendFlags::NOSIGNAL)?,
            _ => rustix::io::writev(&self.0, slices)?,
        })
    }

    /// Ends the sending direction.
    ///
    /// # Errors
    ///
    /// The system's; the connection is then gone anyway.
    pub fn shutdown_write(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.0, rustix::net::Shutdown::Write)?)
    }

    /// Makes the close that follows a reset: what is queued in the system is thrown away, and the peer is told so.
    pub fn abort(&self) {
        // Where linger cannot be set the socket is closed in the ordinary way, which is all that is left to do.
        let _ = sockopt::set_socket_linger(&self.0, Some(Duration::ZERO));
    }

    /// The outcome of [`connect`], to be asked when the socket has become writable.
    ///
    /// # Errors
    ///
    /// Why there is no connection.
    pub fn connected(&self) -> io::Result<()> {
        Ok(sockopt::socket_error(&self.0)??)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<OwnedFd> for Stream {
    /// Takes a stream socket, which must be non-blocking.
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

/// Starts a connection. It is established, or has failed, when the socket becomes writable: ask
/// [`Stream::connected`] then.
///
/// # Errors
///
/// Why it cannot even be started; for a Unix socket that includes `WouldBlock`, when its backlog is full.
pub fn connect(to: &Endpoint) -> io::Result<Stream> {
    let (fd, result) = match to {
        Endpoint::Tcp(address) => {
            let fd = stream_socket(family_of(address))?;
            sockopt::set_tcp_nodelay(&fd, true)?;
            let result = rustix::net::connect(&fd, address);
            (fd, result)
        }
        Endpoint::Unix(path) => {
            let fd = stream_socket(AddressFamily::UNIX)?;
            let result = rustix::net::connect(&fd, &SocketAddrUnix::new(path.as_path())?);
            (fd, result)
        }
    };
    match result {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(Stream(fd)),
        Err(why) => Err(why.into()),
    }
}

/// A listening socket. Dropping it closes it and removes the Unix socket that [`listen`] made for it.
#[derive(Debug)]
pub struct Listener {
    /// Removed before the socket is closed: a successor never takes it for one that is left over.
    _made: Option<SocketFile>,
    fd: OwnedFd,
}

/// Opens a listening socket.
///
/// TCP sockets take the address again at once after a restart, and an IPv6 address takes IPv6 connections alone; the
/// connections accepted have Nagle's algorithm off. A Unix socket that is left over from a server that has ended is
/// replaced; one that somebody listens on is not, nor is any other file. Who may connect to a Unix socket follows
/// from the umask of this process and from the directory.
///
/// # Errors
///
/// The system's; `AddrInUse` if somebody else listens there, or if a file that is no socket has that path.
pub fn listen(at: &BindAddr, backlog: i32) -> io::Result<Listener> {
    let listener = match at {
        BindAddr::Tcp(address) => {
            let fd = stream_socket(family_of(address))?;
            sockopt::set_socket_reuseaddr(&fd, true)?;
            if address.is_ipv6() {
                sockopt::set_ipv6_v6only(&fd, true)?;
            }
            // Set here it is inherited by every connection, without a call for each.
            sockopt::set_tcp_nodelay(&fd, true)?;
            bind(&fd, address)?;
            Listener { _made: None, fd }
        }
        BindAddr::Unix(path) => {
            let fd = stream_socket(AddressFamily::UNIX)?;
            bind_unix(&fd, path)?;
            Listener { _made: SocketFile::at(path), fd }
        }
    };
    rustix::net::listen(&listener.fd, backlog)?;
    Ok(listener)
}

impl Listener {
    /// Takes a listening stream socket that another process opened, which must be non-blocking. Nothing is removed
    /// when it is dropped.
    pub fn inherited(fd: OwnedFd) -> Self {
        Self { _made: None, fd }
    }

    /// The address it listens on, with the port that the system chose.
    ///
    /// # Errors
    ///
    /// The system's, and `Unsupported` for a socket that is neither TCP nor a Unix socket with a path.
    pub fn local_address(&self) -> io::Result<BindAddr> {
        let address = getsockname(&self.fd)?;
        if let Ok(address) = SocketAddr::try_from(address.clone()) {
            return Ok(BindAddr::Tcp(address));
        }
        let unix = SocketAddrUnix::try_from(address).map_err(|_| io::ErrorKind::Unsupported)?;
        let path = unix.path_bytes().ok_or(io::ErrorKind::Unsupported)?;
        Ok(BindAddr::Unix(PathBuf::from(std::ffi::OsStr::from_bytes(path))))
    }

    /// Takes one connection. Connections that broke while they waited are passed over.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if none waits. `QuotaExceeded` if this process or the system is out of descriptors, `OutOfMemory`
    /// if the system is out of memory: stop accepting for a while. Anything else is a fault of the listener.
    pub fn accept(&self) -> io::Result<(Stream, PeerAddr)> {
        loop {
            match acceptfrom_with(&self.fd, FLAGS) {
                Ok((fd, address)) => return Ok((Stream(fd), peer_of(address))),
                // The last ones are errors of a new connection, not of the listener; Linux hands them out here.
                Err(
                    Errno::INTR
                    | Errno::CONNABORTED
                    | Errno::PROTO
                    | Errno::NETDOWN
                    | Errno::NOPROTOOPT
                    | Errno::HOSTDOWN
                    | Errno::HOSTUNREACH
                    | Errno::NETUNREACH,
                ) => {}
                // Their own kind is not one that a program can name.
                Err(Errno::MFILE | Errno::NFILE) => return Err(io::ErrorKind::QuotaExceeded.into()),
                Err(Errno::NOBUFS | Errno::NOMEM) => return Err(io::ErrorKind::OutOfMemory.into()),
                Err(why) => return Err(why.into()),
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// The file of a Unix socket that we bound.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn at(path: &Path) -> Option<Self> {
        let metadata = fs::symlink_metadata(path).ok()?;
        Some(Self { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A successor may have put its own socket there: that one stays.
        let Ok(metadata) = fs::symlink_metadata(&self.path) else { return };
        if (metadata.dev(), metadata.ino()) == (self.device, self.inode) {
            // Without the right to remove it, it stays, and the next start replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn bind_unix(fd: &OwnedFd, path: &Path) -> io::Result<()> {
    let address = SocketAddrUnix::new(path)?;
    match bind(fd, &address) {
        Err(Errno::ADDRINUSE) if is_left_over(path, &address)? => {
            fs::remove_file(path)?;
            Ok(bind(fd, &address)?)
        }
        result => Ok(result?),
    }
}

/// Whether a socket stands at `path` that nobody listens on.
fn is_left_over(path: &Path, address: &SocketAddrUnix) -> io::Result<bool> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Ok(false);
    }
    let probe = stream_socket(AddressFamily::UNIX)?;
    Ok(rustix::net::connect(&probe, address) == Err(Errno::CONNREFUSED))
}

fn stream_socket(family: AddressFamily) -> io::Result<OwnedFd> {
    Ok(socket_with(family, SocketType::STREAM, FLAGS, None)?)
}

fn family_of(address: &SocketAddr) -> AddressFamily {
    match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    }
}

fn peer_of(address: Option<SocketAddrAny>) -> PeerAddr {
    let address = address.and_then(|address| SocketAddr::try_from(address).ok());
    // A socket that was opened for us may take IPv4 in IPv6 clothes.
    address.map_or(PeerAddr::Unix, |address| PeerAddr::Ip((address.ip().to_canonical(), address.port()).into()))
}

#[cfg(test)]
mod tests;
