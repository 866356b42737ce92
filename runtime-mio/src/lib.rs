//! The driver on mio: one thread, one `epoll`, a table of sockets.
//!
//! ```text
//!   sleep ──▶ readiness, mail ──▶ accept ──▶ read ──▶ time-out ──▶ write ──▶ sleep
//!                                   │         │          │           │
//!                                   └─────────┴── Input ─┴───────────┘
//!                                                   │
//!                                engine ──▶ Output: attend, shut, dial, listen, hold, report
//! ```
//!
//! One pass through this line is a turn. The clock is read once in it. What a turn's inputs have queued is written at
//! its end, once for each link, so that many requests share one write to a node and many answers one write to a
//! client.
//!
//! Sockets are registered once, for both directions and edge-triggered. `readable` and `writable` remember what the
//! edges said until a read or a write finds nothing more, so nothing is registered again and no call is made in vain.

pub mod node;

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use blastbeat_proto::engine::{Address, BindAddr, Engine, Input, LinkId, ListenerId, Output, Report, Shut};
use blastbeat_proto::time::Instant;
use blastbeat_runtime::driver::{
    ACCEPTS_PER_TURN, Clock, Io, Mail, READS_PER_TURN, Read, SLICES, Table, WRITES_PER_TURN,
};
pub use blastbeat_runtime::driver::{Chaos, Handle, Options};
use blastbeat_runtime::net::{self, Endpoint, Listener, Stream};
use blastbeat_runtime::resolve::Resolver;
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

/// Readiness taken from the system at once.
const EVENTS: usize = 1024;

const MAIL: Token = Token(0);
const FIRST_LISTENER: usize = 1;
/// Links have the tokens from here on, in the order of their slots.
const FIRST_LINK: usize = 1 << 16;

/// Runs `engine` until it says [`Output::Finished`], on the calling thread; reports go to `sink`. Time starts at
/// [`Instant::ZERO`]: make the engine with that.
///
/// # Errors
///
/// What keeps the driver itself from working: no `epoll`, or the hook of [`Options::on_listening`]. A listener that
/// cannot be opened is the engine's business, and so is everything that befalls a connection.
pub fn run(engine: Engine, mut options: Options, sink: &mut dyn FnMut(Report)) -> io::Result<()> {
    let mut io = Io::new(options.chaos.take());
    let mut driver = Driver::new(engine, options, sink)?;
    driver.start()?;
    let mut events = Events::with_capacity(EVENTS);
    while !driver.finished {
        driver.turn(&mut events, &mut io)?;
    }
    Ok(())
}

struct Driver<'a> {
    engine: Engine,
    options: Options,
    sink: &'a mut dyn FnMut(Report),
    poll: Poll,
    clock: Clock,
    /// When the present turn began.
    now: Instant,
    /// By slot.
    links: Table<Link>,
    /// By number.
    listeners: Table<Acceptor>,
    resolver: Resolver<LinkId>,
    /// Links to look at before the next sleep: each is here once.
    attend: Vec<LinkId>,
    /// Slots of links that are to be read in the next turn, whatever the system says.
    ready: Vec<usize>,
    /// Listeners to open as soon as the outputs have been drained.
    openings: VecDeque<(ListenerId, BindAddr)>,
    has_mail: bool,
    finished: bool,
}

/// A connection. Ten thousand of them sit in a table, so it is small.
struct Link {
    id: LinkId,
    /// `None` while the name of its peer is resolved.
    stream: Option<Stream>,
    state: State,
    /// There may be something to read.
    readable: bool,
    /// The system takes bytes.
    writable: bool,
    /// The peer's end, or an error, was among the edges: there will be no other edge, so read on until it is seen.
    hung_up: bool,
    /// Is in `attend`.
    attended: bool,
    /// Is in `ready`.
    listed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Being connected: neither read nor written.
    Dialing,
    Open,
    /// The peer has ended its stream: written, but not read any more.
    Ended,
}

struct Acceptor {
    listener: Listener,
    /// There may be somebody to accept.
    ready: bool,
    /// The engine wants nobody now.
    held: bool,
}

impl<'a> Driver<'a> {
    fn new(engine: Engine, options: Options, sink: &'a mut dyn FnMut(Report)) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), MAIL)?);
        // A wake-up that fails leaves the mail for the next turn, and there is nobody to tell.
        options.handle.on_mail(move || drop(waker.wake()));
        let handle = options.handle.clone();
        Ok(Self {
            engine,
            options,
            sink,
            poll,
            clock: Clock::start(),
            now: Instant::ZERO,
            links: Table::new(),
            listeners: Table::new(),
            resolver: Resolver::new(Box::new(move || handle.post(Mail::Resolved))),
            attend: Vec::new(),
            ready: Vec::new(),
            openings: VecDeque::new(),
            has_mail: false,
            finished: false,
        })
    }

    /// Does what the new engine wants first: its listeners and dials.
    fn start(&mut self) -> io::Result<()> {
        self.drain();
        match self.options.on_listening.take() {
            Some(hook) => hook(),
            None => Ok(()),
        }
    }

    fn turn(&mut self, events: &mut Events, io: &mut Io) -> io::Result<()> {
        let mut pause = self.pause();
        // An interruption means that nobody looked. After a long one, who was in time must not be found late.
        while let Err(why) = self.poll.poll(events, pause) {
            if why.kind() != io::ErrorKind::Interrupted {
                return Err(why);
            }
            pause = Some(Duration::ZERO);
        }
        self.now = self.clock.now();
        for event in events.iter() {
            self.note(event);
        }
        self.stray(io);
        self.read_mail();
        self.accept();
        self.read(io);
        self.time_out(io);
        self.write(io);
        Ok(())
    }

    /// How long to sleep: not at all if something is left to do.
    fn pause(&self) -> Option<Duration> {
        let acceptable = |acceptor: &Acceptor| acceptor.ready && !acceptor.held;
        if !self.attend.is_empty() || !self.ready.is_empty() || self.listeners.iter().any(acceptable) {
            return Some(Duration::ZERO);
        }
        self.engine.poll_timeout().map(|wake| wake.at.since(self.now))
    }

    /// Remembers what the system says. An event may be of a socket that is gone, and meet the next tenant of its slot:
    /// that costs a call in vain and does no harm.
    fn note(&mut self, event: &Event) {
        let Token(token) = event.token();
        if event.token() == MAIL {
            self.has_mail = true;
        } else if token < FIRST_LINK {
            if let Some(acceptor) = self.listeners.at(token - FIRST_LISTENER) {
                acceptor.ready = true;
            }
        } else {
            self.note_link(token - FIRST_LINK, event);
        }
    }

    fn note_link(&mut self, slot: usize, event: &Event) {
        let Some(link) = self.links.at(slot) else { return };
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            link.readable = true;
            link.hung_up |= event.is_read_closed() || event.is_error();
            list(link, &mut self.ready);
        }
        if (event.is_writable() || event.is_error()) && !link.writable {
            let id = link.id;
            link.writable = true;
            match link.state {
                State::Dialing => self.finish_dial(id),
                State::Open | State::Ended => attend(link, &mut self.attend),
            }
        }
    }

    fn stray(&mut self, io: &mut Io) {
        let Some(slot) = io.stray(self.links.places()) else { return };
        let Some(link) = self.links.at(slot) else { return };
        link.readable = true;
        list(link, &mut self.ready);
        attend(link, &mut self.attend);
    }

    fn read_mail(&mut self) {
        if !mem::take(&mut self.has_mail) {
            return;
        }
        for mail in self.options.handle.take() {
            match mail {
                Mail::Control(control) => self.input(Input::Control(control)),
                Mail::WakeApp(app) => self.input(Input::WakeApp(app)),
                Mail::Resolved => self.connect(),
            }
        }
    }

    fn accept(&mut self) {
        for number in 0..self.listeners.places() {
            for _ in 0..ACCEPTS_PER_TURN {
                let Some(acceptor) = self.listeners.at(number) else { break };
                if !acceptor.ready || acceptor.held {
                    break;
                }
                let on = ListenerId(number as u32);
                match acceptor.listener.accept() {
                    Ok((stream, peer)) => {
                        // Without a link the stream is dropped: they are hung up on.
                        if let Some(id) = self.engine.accept(on, peer, self.now) {
                            self.links.put(id.slot(), Link::new(id, State::Open));
                            self.open(id, stream);
                        }
                        self.drain();
                    }
                    Err(why) if why.kind() == io::ErrorKind::WouldBlock => acceptor.ready = false,
                    Err(why) => {
                        self.input(Input::AcceptFailed { on, why: why.kind() });
                        break;
                    }
                }
            }
        }
    }

    fn read(&mut self, io: &mut Io) {
        let end = self.ready.len();
        for place in 0..end {
            let Some(link) = self.links.at(self.ready[place]) else { continue };
            link.listed = false;
            let id = link.id;
            if (0..READS_PER_TURN).all(|_| self.read_link(id, io)) {
                self.reconsider(id);
            }
        }
        self.ready.drain(..end);
    }

    /// Reads once; whether there may be more to read now.
    fn read_link(&mut self, id: LinkId, io: &mut Io) -> bool {
        let Some(link) = find(&mut self.links, id) else { return false };
        let Some(stream) = &link.stream else { return false };
        if !link.readable || link.state != State::Open || !self.engine.interest(id).read {
            return false;
        }
        match io.read(stream) {
            Read::Bytes { bytes, drained } => {
                link.readable = !drained || link.hung_up;
                let more = link.readable;
                self.input(Input::Received { link: id, bytes });
                more
            }
            Read::Nothing => {
                link.readable = false;
                false
            }
            Read::End => {
                link.state = State::Ended;
                self.input(Input::Eof { link: id });
                false
            }
            Read::Failed(why) => {
                self.fail(id, why);
                false
            }
        }
    }

    fn time_out(&mut self, io: &mut Io) {
        let due = self.engine.poll_timeout().is_some_and(|wake| wake.at <= self.now);
        if due || io.strays() {
            self.input(Input::Timeout);
        }
    }

    /// Writes once to each link that has something, and again, within bounds, to those that then have more.
    fn write(&mut self, io: &mut Io) {
        let mut written = 0;
        for _ in 0..WRITES_PER_TURN {
            let end = self.attend.len();
            for place in written..end {
                self.write_link(self.attend[place], io);
            }
            written = end;
        }
        self.attend.drain(..written);
    }

    fn write_link(&mut self, id: LinkId, io: &mut Io) {
        let Some(link) = find(&mut self.links, id) else { return };
        link.attended = false;
        let Some(stream) = &link.stream else { return };
        if link.state == State::Dialing {
            return;
        }
        if link.writable && self.engine.interest(id).write {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.engine.outbound(id, &mut slices, self.now);
            debug_assert!(count > 0, "what wants to be written is lent");
            match io.write(stream, &slices[..count]) {
                Ok(written) => {
                    link.writable = !written.full;
                    if written.n > 0 {
                        self.input(Input::Sent { link: id, n: written.n });
                    }
                }
                // What the peer has sent before it went is read first; then the read fails.
                Err(_) if self.engine.interest(id).read && link.state == State::Open => {
                    link.writable = false;
                    link.readable = true;
                    list(link, &mut self.ready);
                }
                Err(why) => return self.fail(id, why),
            }
        }
        self.reconsider(id);
    }

    /// Lists the link for what it wants and the system allows: no edge will remind us.
    fn reconsider(&mut self, id: LinkId) {
        let Some(link) = find(&mut self.links, id) else { return };
        let interest = self.engine.interest(id);
        if interest.read && link.readable && link.state == State::Open {
            list(link, &mut self.ready);
        }
        if interest.write && link.writable && link.state != State::Dialing {
            attend(link, &mut self.attend);
        }
    }

    /// Tells the engine, and does everything that it then wants.
    fn input(&mut self, input: Input<'_>) {
        self.engine.handle(input, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            while let Some(output) = self.engine.poll_output() {
                self.perform(output);
            }
            let Some((id, at)) = self.openings.pop_front() else { return };
            let result = self.listen(id, &at).map_err(|why| why.kind());
            self.engine.handle(Input::Listening { id, result }, self.now);
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Attend(id) => {
                if let Some(link) = find(&mut self.links, id) {
                    attend(link, &mut self.attend);
                }
            }
            Output::Shut(id, how) => self.shut(id, how),
            Output::Dial(id, address) => self.dial(id, address),
            Output::Listen(id, at) => self.openings.push_back((id, at)),
            Output::Unlisten(ListenerId(number)) => {
                if let Some(acceptor) = self.listeners.take(number as usize) {
                    // Closing is not enough for an inherited socket: its other owners keep it open. Nothing depends
                    // on the outcome.
                    let _ = self.poll.registry().deregister(&mut SourceFd(&acceptor.listener.as_raw_fd()));
                }
            }
            Output::Hold(ListenerId(number), held) => {
                if let Some(acceptor) = self.listeners.at(number as usize) {
                    acceptor.held = held;
                }
            }
            Output::Report(report) => (self.sink)(report),
            Output::Finished => self.finished = true,
        }
    }

    fn shut(&mut self, id: LinkId, how: Shut) {
        let Some(link) = find(&mut self.links, id) else { return };
        if let Some(stream) = &link.stream {
            match how {
                // If it fails the connection is gone, which the next read finds.
                Shut::Write => drop(stream.shutdown_write()),
                Shut::Close => {}
                Shut::Abort => stream.abort(),
            }
        }
        if how != Shut::Write {
            self.links.take(id.slot());
        }
    }

    fn dial(&mut self, id: LinkId, address: Address) {
        self.links.put(id.slot(), Link::new(id, State::Dialing));
        self.resolver.resolve(id, address);
        // Numeric addresses are there without a wake-up.
        self.options.handle.post(Mail::Resolved);
    }

    /// Goes on with the dials whose endpoints are known.
    fn connect(&mut self) {
        while let Some((id, endpoint)) = self.resolver.poll() {
            if find(&mut self.links, id).is_none() {
                continue;
            }
            match endpoint.and_then(|endpoint: Endpoint| net::connect(&endpoint)) {
                Ok(stream) => self.open(id, stream),
                Err(why) => self.refuse_dial(id, why.kind()),
            }
        }
    }

    fn finish_dial(&mut self, id: LinkId) {
        let Some(link) = find(&mut self.links, id) else { return };
        let Some(stream) = &link.stream else { return };
        match stream.connected() {
            Ok(()) => {
                link.state = State::Open;
                self.input(Input::Dialed { link: id, result: Ok(()) });
                self.reconsider(id);
            }
            Err(why) => self.refuse_dial(id, why.kind()),
        }
    }

    fn refuse_dial(&mut self, id: LinkId, why: io::ErrorKind) {
        self.links.take(id.slot());
        self.input(Input::Dialed { link: id, result: Err(why) });
    }

    fn listen(&mut self, id: ListenerId, wanted: &BindAddr) -> io::Result<BindAddr> {
        let (listener, address) = self.options.open(wanted)?;
        let token = Token(FIRST_LISTENER + id.0 as usize);
        self.poll.registry().register(&mut SourceFd(&listener.as_raw_fd()), token, Interest::READABLE)?;
        self.listeners.put(id.0 as usize, Acceptor { listener, ready: true, held: false });
        Ok(address)
    }

    /// Gives a link its socket.
    fn open(&mut self, id: LinkId, stream: Stream) {
        let token = Token(FIRST_LINK + id.slot());
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = self.poll.registry().register(&mut SourceFd(&stream.as_raw_fd()), token, interest);
        let Some(link) = find(&mut self.links, id) else { return };
        link.writable = link.state == State::Open;
        link.stream = Some(stream);
        match (registered, link.state) {
            (Ok(()), _) => {}
            (Err(why), State::Dialing) => self.refuse_dial(id, why.kind()),
            (Err(why), State::Open | State::Ended) => self.fail(id, why.kind()),
        }
    }

    fn fail(&mut self, id: LinkId, why: io::ErrorKind) {
        self.links.take(id.slot());
        self.input(Input::Failed { link: id, why });
    }
}

impl Link {
    fn new(id: LinkId, state: State) -> Self {
        Self {
            id,
            stream: None,
            state,
            readable: false,
            writable: false,
            hung_up: false,
            attended: false,
            listed: false,
        }
    }
}

/// The link, unless another has its slot.
fn find(links: &mut Table<Link>, id: LinkId) -> Option<&mut Link> {
    links.at(id.slot()).filter(|link| link.id == id)
}

fn attend(link: &mut Link, attended: &mut Vec<LinkId>) {
    if !mem::replace(&mut link.attended, true) {
        attended.push(link.id);
    }
}

fn list(link: &mut Link, ready: &mut Vec<usize>) {
    if !mem::replace(&mut link.listed, true) {
        ready.push(link.id.slot());
    }
}
