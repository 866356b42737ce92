//! Signals, turned into the operator's wishes.
//!
//! ```text
//! SIGTERM, SIGINT   first: drain     second: stop     third: leave at once
//! SIGUSR1           statistics now
//! SIGHUP            certificates are read again; nothing else is while the server runs
//! SIGPIPE           ignored (by Rust's start-up code): writing to a closed connection is an error like others
//! ```
//!
//! They are blocked in every thread and taken one by one by a thread of their own, so that no handler runs in the
//! middle of anything.

use std::time::Duration;
use std::{io, thread};

use blastbeat_proto::engine::Control;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// What a signal asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Tell the engine.
    Control(Control),
    /// Read the certificates again.
    Reload,
    /// No signal: it is time to look after things.
    Tick,
    /// The engine had its chance: leave.
    Exit,
}

/// Signals that are blocked, and wait to be taken.
pub struct Signals(SigSet);

impl Signals {
    /// Blocks the signals in this thread and those it starts from now on: call it before there are any others.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn block() -> io::Result<Self> {
        let set = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1, Signal::SIGHUP]);
        set.thread_block()?;
        Ok(Self(set))
    }

    /// Starts the thread that takes signals, those included that came since [`block`](Self::block), and calls `obey`
    /// for each; and with [`Order::Tick`] when none came for the time of `tick`. It runs as long as the process does.
    ///
    /// # Errors
    ///
    /// The thread could not be started.
    pub fn serve(self, tick: Option<Duration>, mut obey: impl FnMut(Order) + Send + 'static) -> io::Result<()> {
        let signals = self.open()?;
        let mut stops = 0;
        thread::Builder::new().name("signals".into()).spawn(move || {
            while let Ok(next) = next(&signals, tick) {
                let order = match next {
                    Some(signal) => order_of(signal, &mut stops),
                    None => Some(Order::Tick),
                };
                if let Some(order) = order {
                    obey(order);
                }
            }
        })?;
        Ok(())
    }

    fn open(&self) -> io::Result<SignalFd> {
        Ok(SignalFd::with_flags(&self.0, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
    }
}

/// Waits for a signal; `None` if none came for the time of `tick`.
fn next(signals: &SignalFd, tick: Option<Duration>) -> io::Result<Option<Signal>> {
    let timeout = tick.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
    loop {
        if let Some(info) = signals.read_signal()? {
            return Ok(Some(Signal::try_from(info.ssi_signo as i32)?));
        }
        match poll(&mut [PollFd::new(signals, PollFlags::IN)], timeout.as_ref()) {
            Ok(0) => return Ok(None),
            Ok(_) | Err(Errno::INTR) => {}
            Err(why) => return Err(why.into()),
        }
    }
}

/// What `signal` asks for, after `stops` requests to stop.
#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum; no other signal is in our set")]
fn order_of(signal: Signal, stops: &mut u32) -> Option<Order> {
    match signal {
        Signal::SIGTERM | Signal::SIGINT => {
            *stops = stops.saturating_add(1);
            Some(match *stops {
                1 => Order::Control(Control::Drain),
                2 => Order::Control(Control::Stop),
                _ => Order::Exit,
            })
        }
        Signal::SIGUSR1 => Some(Order::Control(Control::Stats)),
        Signal::SIGHUP => Some(Order::Reload),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::pthread::{pthread_kill, pthread_self};

    use super::*;

    #[test]
    fn the_first_stop_drains_the_second_stops_the_third_leaves() {
        let mut stops = 0;
        let mut order = |signal| order_of(signal, &mut stops).unwrap();
        assert_eq!(order(Signal::SIGUSR1), Order::Control(Control::Stats));
        assert_eq!(order(Signal::SIGINT), Order::Control(Control::Drain));
        assert_eq!(order(Signal::SIGHUP), Order::Reload);
        assert_eq!(order(Signal::SIGTERM), Order::Control(Control::Stop));
        assert_eq!(order(Signal::SIGUSR1), Order::Control(Control::Stats));
        assert_eq!(order(Signal::SIGTERM), Order::Exit);
    }

    #[test]
    fn a_blocked_signal_waits_to_be_taken() {
        let signals = Signals::block().unwrap();
        pthread_kill(pthread_self(), Signal::SIGTERM).unwrap();
        pthread_kill(pthread_self(), Signal::SIGUSR1).unwrap();
        let fd = signals.open().unwrap();
        let mut taken = [next(&fd, None).unwrap(), next(&fd, Some(Duration::ZERO)).unwrap()];
        taken.sort_unstable();
        assert_eq!(taken, [Some(Signal::SIGUSR1), Some(Signal::SIGTERM)]);
        assert_eq!(next(&fd, Some(Duration::from_millis(1))).unwrap(), None, "time for other things");
    }
}
