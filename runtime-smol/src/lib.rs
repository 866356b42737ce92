//! The driver on smol's parts: one thread, a [`LocalExecutor`], a task for each socket.
//!
//! ```text
//!            ┌─ link tasks: read, or wait until there is something ─ Input ──▶┐
//!   executor ├─ accept tasks: the same with listeners ───────────── accept ──▶├─▶ engine ──▶ Output: attend,
//!            ├─ write tasks: only while a socket takes no more                │              shut, dial, ...
//!            └─ the mail task ───────────────────────────────────── Input ───▶┘
//!
//!   turn: run every task that is ready ──▶ time-out, if due ──▶ write each attended link once ──▶ spawn ──▶ sleep
//! ```
//!
//! The clock is read once in a turn. What a turn's inputs have queued is written at its end, once for each link and
//! straight to the socket, so that many requests share one write to a node and many answers one write to a client.
//!
//! The tasks own no state but the socket they wait for: everything else is in `Driver`, which they borrow between
//! two awaits and never across one. A task runs at most once in a turn; one that has used up its share asks for the
//! next turn. It is cancelled by dropping its handle, which stands in the link's or the listener's place in a table.

pub mod node;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use async_executor::{LocalExecutor, Task};
use async_io::{Async, Timer};
use blastbeat_proto::engine::{Address, BindAddr, Engine, Input, LinkId, ListenerId, Output, Report, Shut};
use blastbeat_proto::time::Instant;
use blastbeat_runtime::driver::{
    ACCEPTS_PER_TURN, Clock, Io, Mail, READS_PER_TURN, Read, SLICES, Table, WRITES_PER_TURN,
};
pub use blastbeat_runtime::driver::{Chaos, Handle, Options};
use blastbeat_runtime::net::{self, Listener, Stream};
use blastbeat_runtime::resolve::Resolver;
use futures_lite::future::{or, yield_now};

/// Runs `engine` until it says [`Output::Finished`], on the calling thread; reports go to `sink`. Time starts at
/// [`Instant::ZERO`]: make the engine with that.
///
/// # Errors
///
/// That of the hook, [`Options::on_listening`]. A listener that cannot be opened is the engine's business, and so is
/// everything that befalls a connection.
pub fn run(engine: Engine, mut options: Options, sink: &mut dyn FnMut(Report)) -> io::Result<()> {
    let io = RefCell::new(Io::new(options.chaos.take()));
    let driver = RefCell::new(Driver::new(engine, options, sink));
    let shared = Shared { driver, io };
    // Dropped before what its tasks borrow.
    let executor = LocalExecutor::new();
    async_io::block_on(serve(&shared, &executor))
}

/// What the tasks borrow.
struct Shared<'a> {
    driver: RefCell<Driver<'a>>,
    io: RefCell<Io>,
}

/// The turns.
async fn serve<'a>(shared: &'a Shared<'a>, executor: &LocalExecutor<'a>) -> io::Result<()> {
    let clock = shared.driver.borrow_mut().start()?;
    let _mail = executor.spawn(poll_fn(|context| shared.driver.borrow_mut().poll_mail(context)));
    let mut timer = Timer::never();
    // Setting the timer costs a wake-up, and deadlines mostly move away: it is set for an earlier time only.
    let mut set: Option<Instant> = None;
    loop {
        while executor.try_tick() {}
        let pause = shared.driver.borrow_mut().finish_turn(&mut shared.io.borrow_mut());
        spawn(shared, executor);
        let until = match pause {
            Pause::Finished => return Ok(()),
            Pause::None => {
                yield_now().await;
                continue;
            }
            Pause::Until(until) => until,
        };
        if let Some(at) = until.filter(|at| set.is_none_or(|set| *at < set)) {
            timer = clock.system(at).map_or_else(Timer::never, Timer::at);
            set = Some(at);
        }
        let task = async {
            executor.tick().await;
            set
        };
        let time = async {
            (&mut timer).await;
            None
        };
        set = or(task, time).await;
        if set.is_none() {
            // The timer also rings when the reactor was interrupted and nobody looked at the sockets. This does, so that
            // after a long interruption nobody who was in time is found late.
            yield_now().await;
        }
    }
}

/// What follows a turn.
enum Pause {
    /// The server has ended.
    Finished,
    /// There is more to do.
    None,
    /// There is nothing before this time.
    Until(Option<Instant>),
}

/// A task that the driver wants. It is spawned at the end of the turn, because the tasks borrow the driver and so it
/// cannot have their executor.
enum Errand {
    Accept(ListenerId, Rc<Async<Listener>>),
    Dial(LinkId, Rc<Async<Stream>>),
    Read(LinkId, Rc<Async<Stream>>),
    AwaitRoom(LinkId, Rc<Async<Stream>>),
}

fn spawn<'a>(shared: &'a Shared<'a>, executor: &LocalExecutor<'a>) {
    let driver = &mut *shared.driver.borrow_mut();
    for errand in driver.errands.drain(..) {
        // What has gone meanwhile needs no task.
        match errand {
            Errand::Accept(id, listener) => {
                let Some(acceptor) = driver.listeners.at(id.0 as usize) else { continue };
                acceptor.task = Some(executor.spawn(accept(shared, id, listener)));
            }
            Errand::Dial(id, stream) => {
                let Some(link) = find(&mut driver.links, id) else { continue };
                link.reader = Some(executor.spawn(dial(shared, id, stream)));
            }
            Errand::Read(id, stream) => {
                let Some(link) = find(&mut driver.links, id) else { continue };
                link.reader = Some(executor.spawn(read(shared, id, stream)));
            }
            Errand::AwaitRoom(id, stream) => {
                let Some(link) = find(&mut driver.links, id) else { continue };
                link.writer = Some(executor.spawn(await_room(shared, id, stream)));
            }
        }
    }
}

/// The task of a listener.
async fn accept(shared: &Shared<'_>, id: ListenerId, listener: Rc<Async<Listener>>) {
    let accept = |context: &mut Context<'_>| shared.driver.borrow_mut().poll_accept(id, listener.get_ref(), context);
    while let Err(why) = serve_socket(shared, &listener, accept).await {
        shared.driver.borrow_mut().input(Input::AcceptFailed { on: id, why: why.kind() });
    }
}

/// The task of a link that is dialled: first the connection, then as any other.
async fn dial(shared: &Shared<'_>, id: LinkId, stream: Rc<Async<Stream>>) {
    let ready = poll_fn(|context| stream.poll_writable(context)).await;
    let connected = ready.and_then(|()| stream.get_ref().connected()).map(|()| Rc::clone(&stream));
    shared.driver.borrow_mut().finish_dial(id, connected);
    read(shared, id, stream).await;
}

/// The task of a link. The first read comes without waiting: clients mostly speak at once.
async fn read(shared: &Shared<'_>, id: LinkId, stream: Rc<Async<Stream>>) {
    let read = |context: &mut Context<'_>| {
        shared.driver.borrow_mut().poll_read(id, stream.get_ref(), &mut shared.io.borrow_mut(), context)
    };
    if let Err(why) = serve_socket(shared, &stream, read).await {
        shared.driver.borrow_mut().fail(id, why.kind());
    }
}

/// The task of a link whose socket takes no more bytes.
async fn await_room(shared: &Shared<'_>, id: LinkId, stream: Rc<Async<Stream>>) {
    match poll_fn(|context| stream.poll_writable(context)).await {
        Ok(()) => shared.driver.borrow_mut().note_room(id),
        Err(why) => shared.driver.borrow_mut().fail(id, why.kind()),
    }
}

/// What a task does after its share of a turn.
enum Next {
    /// Waits until the system has something.
    Wait,
    /// Goes on in the next turn.
    Yield,
    /// Ends.
    Stop,
}

/// Takes from a socket, as long as there is something and the engine wants it.
async fn serve_socket<T>(
    shared: &Shared<'_>,
    socket: &Async<T>,
    mut take: impl FnMut(&mut Context<'_>) -> Poll<Next>,
) -> io::Result<()> {
    loop {
        match poll_fn(&mut take).await {
            Next::Wait => poll_fn(|context| socket.poll_readable(context)).await?,
            Next::Yield => next_turn(shared).await,
            Next::Stop => return Ok(()),
        }
    }
}

async fn next_turn(shared: &Shared<'_>) {
    let mut asked = false;
    poll_fn(|context| {
        if mem::replace(&mut asked, true) {
            return Poll::Ready(());
        }
        shared.driver.borrow_mut().next_turn.push(context.waker().clone());
        Poll::Pending
    })
    .await;
}

struct Driver<'a> {
    engine: Engine,
    options: Options,
    sink: &'a mut dyn FnMut(Report),
    clock: Clock,
    /// When the present turn began, once somebody has asked.
    now: Option<Instant>,
    /// By slot.
    links: Table<Link>,
    /// By number.
    listeners: Table<Acceptor>,
    resolver: Resolver<LinkId>,
    /// Links to look at before the turn ends: each is here once.
    attend: Vec<LinkId>,
    /// Tasks that have used up their share of this turn.
    next_turn: Vec<Waker>,
    errands: Vec<Errand>,
    /// Listeners to open as soon as the outputs have been drained.
    openings: VecDeque<(ListenerId, BindAddr)>,
    listens_to_mail: bool,
    finished: bool,
}

/// A connection.
struct Link {
    id: LinkId,
    /// `None` while it is dialled: neither read nor written.
    stream: Option<Rc<Async<Stream>>>,
    /// Dials and reads.
    reader: Option<Task<()>>,
    /// Waits until the socket takes bytes again.
    writer: Option<Task<()>>,
    /// The reader, while the engine wants nothing from it.
    paused: Option<Waker>,
    /// The socket takes no more bytes.
    full: bool,
    /// Is in `attend`.
    attended: bool,
}

struct Acceptor {
    task: Option<Task<()>>,
    /// The engine wants nobody now.
    held: bool,
    /// The task, while it is held.
    paused: Option<Waker>,
}

impl<'a> Driver<'a> {
    fn new(engine: Engine, options: Options, sink: &'a mut dyn FnMut(Report)) -> Self {
        let handle = options.handle.clone();
        Self {
            engine,
            options,
            sink,
            clock: Clock::start(),
            now: None,
            links: Table::new(),
            listeners: Table::new(),
            resolver: Resolver::new(Box::new(move || handle.post(Mail::Resolved))),
            attend: Vec::new(),
            next_turn: Vec::new(),
            errands: Vec::new(),
            openings: VecDeque::new(),
            listens_to_mail: false,
            finished: false,
        }
    }

    /// Does what the new engine wants first: its listeners and dials.
    fn start(&mut self) -> io::Result<Clock> {
        self.drain();
        if let Some(hook) = self.options.on_listening.take() {
            hook()?;
        }
        Ok(self.clock)
    }

    /// The clock, read at the first question in a turn.
    fn now(&mut self) -> Instant {
        *self.now.get_or_insert_with(|| self.clock.now())
    }

    /// The mail task: it never ends.
    fn poll_mail(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !mem::replace(&mut self.listens_to_mail, true) {
            let waker = context.waker().clone();
            self.options.handle.on_mail(move || waker.wake_by_ref());
        }
        for mail in self.options.handle.take() {
            match mail {
                Mail::Control(control) => self.input(Input::Control(control)),
                Mail::WakeApp(app) => self.input(Input::WakeApp(app)),
                Mail::Resolved => self.connect(),
            }
        }
        Poll::Pending
    }

    /// Accepts a turn's share; pending while the engine wants nobody.
    fn poll_accept(&mut self, on: ListenerId, listener: &Listener, context: &mut Context<'_>) -> Poll<Next> {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(acceptor) = self.listeners.at(on.0 as usize) else { return Poll::Ready(Next::Stop) };
            if acceptor.held {
                acceptor.paused = Some(context.waker().clone());
                return Poll::Pending;
            }
            match listener.accept() {
                Ok((stream, peer)) => {
                    let now = self.now();
                    // Without a link the stream is dropped: they are hung up on.
                    if let Some(id) = self.engine.accept(on, peer, now) {
                        self.links.put(id.slot(), Link::new(id));
                        self.open(id, stream);
                    }
                    self.drain();
                }
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => return Poll::Ready(Next::Wait),
                Err(why) => {
                    self.input(Input::AcceptFailed { on, why: why.kind() });
                    return Poll::Ready(Next::Yield);
                }
            }
        }
        Poll::Ready(Next::Yield)
    }

    /// Reads a turn's share; pending while the engine wants nothing.
    fn poll_read(&mut self, id: LinkId, stream: &Stream, io: &mut Io, context: &mut Context<'_>) -> Poll<Next> {
        for _ in 0..READS_PER_TURN {
            let Some(link) = find(&mut self.links, id) else { return Poll::Ready(Next::Stop) };
            if !self.engine.interest(id).read {
                link.paused = Some(context.waker().clone());
                return Poll::Pending;
            }
            match io.read(stream) {
                Read::Bytes { bytes, drained } => {
                    self.input(Input::Received { link: id, bytes });
                    if drained && !io.strays() {
                        return Poll::Ready(Next::Wait);
                    }
                }
                Read::Nothing => return Poll::Ready(Next::Wait),
                Read::End => {
                    self.input(Input::Eof { link: id });
                    return Poll::Ready(Next::Stop);
                }
                Read::Failed(why) => {
                    self.fail(id, why);
                    return Poll::Ready(Next::Stop);
                }
            }
        }
        Poll::Ready(Next::Yield)
    }

    /// Says the time-out, if it is due, and writes what the turn has queued.
    fn finish_turn(&mut self, io: &mut Io) -> Pause {
        let now = self.now();
        let due = self.engine.poll_timeout().is_some_and(|wake| wake.at <= now);
        if due || io.strays() {
            self.input(Input::Timeout);
        }
        if let Some(link) = io.stray(self.links.places()).and_then(|slot| self.links.at(slot)) {
            attend(link, &mut self.attend);
        }
        self.write(io);
        self.now = None;
        let more = !self.attend.is_empty() || !self.next_turn.is_empty();
        self.next_turn.drain(..).for_each(Waker::wake);
        let until = self.engine.poll_timeout().map(|wake| wake.at);
        match until {
            Some(_) | None if self.finished => Pause::Finished,
            Some(_) | None if more => Pause::None,
            Some(at) if at <= now => Pause::None,
            Some(_) | None => Pause::Until(until),
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
        let now = self.now();
        let Some(link) = find(&mut self.links, id) else { return };
        link.attended = false;
        let Some(stream) = &link.stream else { return };
        if !link.full && self.engine.interest(id).write {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.engine.outbound(id, &mut slices, now);
            debug_assert!(count > 0, "what wants to be written is lent");
            match io.write(stream.get_ref(), &slices[..count]) {
                Ok(written) => {
                    if written.full {
                        link.full = true;
                        self.errands.push(Errand::AwaitRoom(id, Rc::clone(stream)));
                    }
                    if written.n > 0 {
                        self.input(Input::Sent { link: id, n: written.n });
                    }
                }
                // What the peer has sent before it went is read first; then the read fails.
                Err(_) if self.engine.interest(id).read => link.full = true,
                Err(why) => return self.fail(id, why),
            }
        }
        self.reconsider(id);
    }

    /// Lets a link do what it wants and may do.
    fn reconsider(&mut self, id: LinkId) {
        let Some(link) = find(&mut self.links, id) else { return };
        let interest = self.engine.interest(id);
        if interest.read
            && let Some(reader) = link.paused.take()
        {
            reader.wake();
        }
        if interest.write && !link.full && link.stream.is_some() {
            attend(link, &mut self.attend);
        }
    }

    fn note_room(&mut self, id: LinkId) {
        if let Some(link) = find(&mut self.links, id) {
            link.full = false;
            attend(link, &mut self.attend);
        }
    }

    /// Tells the engine, and does everything that it then wants.
    fn input(&mut self, input: Input<'_>) {
        let now = self.now();
        self.engine.handle(input, now);
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            while let Some(output) = self.engine.poll_output() {
                self.perform(output);
            }
            let Some((id, at)) = self.openings.pop_front() else { return };
            let result = self.listen(id, &at).map_err(|why| why.kind());
            let now = self.now();
            self.engine.handle(Input::Listening { id, result }, now);
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
                // The socket goes with the task.
                self.listeners.take(number as usize);
            }
            Output::Hold(ListenerId(number), held) => {
                let Some(acceptor) = self.listeners.at(number as usize) else { return };
                acceptor.held = held;
                acceptor.paused.take().into_iter().for_each(Waker::wake);
            }
            Output::Report(report) => (self.sink)(report),
            Output::Finished => self.finished = true,
        }
    }

    fn shut(&mut self, id: LinkId, how: Shut) {
        let Some(link) = find(&mut self.links, id) else { return };
        if let Some(stream) = link.stream.as_deref().map(Async::get_ref) {
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
        self.links.put(id.slot(), Link::new(id));
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
            match endpoint.and_then(|endpoint| Async::new_nonblocking(net::connect(&endpoint)?)) {
                Ok(stream) => self.errands.push(Errand::Dial(id, Rc::new(stream))),
                Err(why) => self.finish_dial(id, Err(why)),
            }
        }
    }

    fn finish_dial(&mut self, id: LinkId, result: io::Result<Rc<Async<Stream>>>) {
        let Some(link) = find(&mut self.links, id) else { return };
        let result = match result {
            Ok(stream) => {
                link.stream = Some(stream);
                Ok(())
            }
            Err(why) => {
                self.links.take(id.slot());
                Err(why.kind())
            }
        };
        self.input(Input::Dialed { link: id, result });
        self.reconsider(id);
    }

    fn listen(&mut self, id: ListenerId, wanted: &BindAddr) -> io::Result<BindAddr> {
        let (listener, address) = self.options.open(wanted)?;
        let listener = Rc::new(Async::new_nonblocking(listener)?);
        self.listeners.put(id.0 as usize, Acceptor { task: None, held: false, paused: None });
        self.errands.push(Errand::Accept(id, listener));
        Ok(address)
    }

    /// Gives an accepted link its socket.
    fn open(&mut self, id: LinkId, stream: Stream) {
        let Some(link) = find(&mut self.links, id) else { return };
        match Async::new_nonblocking(stream) {
            Ok(stream) => {
                let stream = link.stream.insert(Rc::new(stream));
                self.errands.push(Errand::Read(id, Rc::clone(stream)));
            }
            Err(why) => self.fail(id, why.kind()),
        }
    }

    fn fail(&mut self, id: LinkId, why: io::ErrorKind) {
        if find(&mut self.links, id).is_some() {
            self.links.take(id.slot());
            self.input(Input::Failed { link: id, why });
        }
    }
}

impl Link {
    fn new(id: LinkId) -> Self {
        Self { id, stream: None, reader: None, writer: None, paused: None, full: false, attended: false }
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
