//! What a scenario stands on.

use std::time::Duration;

use blastbeat_proto::config::Config;
use blastbeat_proto::engine::{Control, Report};
use bytes::BytesMut;

/// How long a real host waits for something that a scenario expects. Only a failure waits that long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A peer's end of a connection, given out by the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerId(pub usize);

/// How the server ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its sending direction, in good order.
    Eof,
    /// With a reset.
    Reset,
}

/// What the peer still means to do once its `outgoing` bytes are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Finish {
    /// Nothing.
    #[default]
    StayOpen,
    /// End the sending direction.
    HalfClose,
    /// Close.
    Close,
    /// Close with a reset, whatever is still to be sent.
    Reset,
}

/// A peer's end of a connection.
#[derive(Debug, Default)]
pub struct Peer {
    /// Bytes on their way to the server.
    pub outgoing: BytesMut,
    /// Bytes that came from the server and that nobody has looked at yet.
    pub incoming: Vec<u8>,
    /// Set once the server has ended the connection and all its bytes are in `incoming`.
    pub ended: Option<Ended>,
    /// What comes after `outgoing`.
    pub finish: Finish,
    /// Leave what comes in the network's buffers.
    pub paused: bool,
}

/// What is left of a server that has stopped.
pub struct Remains {
    /// Its recording.
    pub tape: Vec<u8>,
}

/// Carries bytes and time between one server and its peers.
pub trait Host {
    /// The host's name, for messages.
    fn name(&self) -> &'static str;

    /// Whether time only passes by [`advance`](Self::advance).
    fn is_virtual(&self) -> bool;

    /// Starts the server and waits until all its listeners are open.
    fn start(&mut self, config: Config);

    /// Opens a connection to a listener, by its place in the configuration.
    fn connect(&mut self, listener: usize) -> PeerId;

    /// Opens an endpoint for the server to dial; the address is what `zmq-connect` needs.
    fn listen(&mut self) -> String;

    /// Takes a connection that the server has dialled.
    fn dialed(&mut self) -> Option<PeerId>;

    /// A peer's end of its connection.
    fn peer(&mut self, id: PeerId) -> &mut Peer;

    /// Lets something happen. `false` when nothing more will: in virtual time nothing moves, in real time nothing
    /// happened for [`PATIENCE`].
    fn step(&mut self) -> bool;

    /// Lets time pass on a virtual host, deadline by deadline. A real host's clock runs by itself.
    fn advance(&mut self, by: Duration);

    /// Lets the server deal with everything that has been sent so far. In virtual time nothing moves afterwards; in
    /// real time the server has been through its loop since.
    fn settle(&mut self);

    /// What the operator wants.
    fn control(&mut self, control: Control);

    /// Reports that came so far; may be taken away.
    fn reports(&mut self) -> &mut Vec<Report>;

    /// Stops the server at once and waits for its end.
    fn stop(&mut self) -> Remains;
}
