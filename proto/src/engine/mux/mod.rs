//! HTTP/2 and SPDY: a connection whose streams carry a session each.
//!
//! ```text
//!  events ──▶ a request: a session ─┬─▶ pieces of its body ──▶ its node; released to the client once they are there
//!             (each stream's own)   └─▶ a WebSocket: frames ──▶ its machine ──▶ messages
//!  answers ──▶ the stream's queue ──▶ as the client's windows let
//! ```

mod link;
mod machine;

use alloc::boxed::Box;
use alloc::sync::Arc;

use bytes::Bytes;

pub(super) use link::MuxLink;

use super::Engine;
use super::carrier::Carrier;
use super::link::Protocol;
use super::report::Report;
use crate::address::PeerAddr;
use crate::error::Cause;
use crate::http::{self, StreamEvent, StreamId, Tally};
use crate::time::{Instant, earliest};
use crate::{http2, spdy};
use link::{Stream, Tunnel};
use machine::Machine;

impl Engine {
    pub(super) fn http2_protocol(&self, listener: usize, client: PeerAddr, now: Instant) -> Protocol {
        let conn = Machine::Http2(http2::Connection::server(Arc::clone(&self.http), now));
        Protocol::Mux(Box::new(MuxLink::new(conn, listener, client)))
    }

    /// Without a version it is SPDY/3 or SPDY/3.1.
    pub(super) fn spdy_protocol(
        &self,
        version: Option<spdy::Version>,
        listener: usize,
        client: PeerAddr,
        now: Instant,
    ) -> Protocol {
        let settings = Arc::clone(&self.http);
        let conn = match version {
            Some(version) => spdy::Connection::server(version, settings, now),
            None => spdy::Connection::server_in_doubt(settings, now),
        };
        Protocol::Mux(Box::new(MuxLink::new(Machine::Spdy(Box::new(conn)), listener, client)))
    }

    fn mux_on(&mut self, slot: usize) -> Option<&mut MuxLink> {
        self.links.at_mut(slot)?.mux()
    }

    /// An event of a client's stream.
    pub(super) fn on_stream_event(&mut self, slot: usize, stream: StreamId, event: StreamEvent, now: Instant) {
        let carrier = Carrier::stream(slot, stream);
        match event {
            StreamEvent::Part(http::Event::Request(request)) => self.on_request(carrier, request, now),
            StreamEvent::Part(http::Event::Body(bytes)) => self.on_stream_data(carrier, stream, bytes, now),
            StreamEvent::Part(http::Event::End) => self.on_stream_end(carrier, stream, now),
            StreamEvent::Part(http::Event::Response(_)) => {
                debug_assert!(false, "a server's connection yields no responses");
            }
            StreamEvent::Freed(_) => match self.session_on(carrier) {
                Some(session) => {
                    self.touch_carrier(carrier);
                    self.on_client_room(session, now);
                }
                None => self.touch_carrier(carrier),
            },
            StreamEvent::Cut(cause) => {
                let session = self.session_on(carrier);
                if let Some(mux) = self.mux_on(slot) {
                    mux.forget(stream);
                }
                let Some(session) = session else {
                    // The answer was complete; it is the client that never took it.
                    if cause == Cause::WindowStall {
                        self.stats.count(cause);
                        let Some(peer) = self.links.at(slot).map(|link| link.peer) else { return };
                        self.report(Report::ClientRefused { peer, cause, why: None });
                    }
                    return;
                };
                // Its own body was answered with a page, if nothing else was.
                if matches!(cause, Cause::BodyTooLarge | Cause::BodyTimeout | Cause::LengthWrong)
                    && let Some(session) = self.sessions.at_mut(session)
                    && !session.is_answered()
                {
                    session.status = cause.status();
                }
                self.lose(session, cause, now);
            }
            StreamEvent::Refused(violation) => {
                self.stats.count(violation.what);
                let Some(peer) = self.links.at(slot).map(|link| link.peer) else { return };
                self.report(Report::ClientRefused { peer, cause: violation.what, why: None });
            }
        }
    }

    fn on_stream_data(&mut self, carrier: Carrier, stream: StreamId, bytes: Bytes, now: Instant) {
        let len = bytes.len();
        let state = self.mux_on(carrier.link).and_then(|mux| mux.stream_mut(stream));
        match state {
            Some(Stream { tunnel: Some(tunnel), .. }) => {
                tunnel.inbox.extend(&bytes);
                return self.touch_carrier(carrier);
            }
            Some(_) => self.on_upload(carrier, bytes, now),
            // Nobody wants it any more.
            None => {}
        }
        let Some(mux) = self.mux_on(carrier.link) else { return };
        match mux.stream_mut(stream) {
            Some(state) if state.is_paused => state.owed += len,
            Some(_) | None => mux.conn.release(stream, len, now),
        }
    }

    fn on_stream_end(&mut self, carrier: Carrier, stream: StreamId, now: Instant) {
        let state = self.mux_on(carrier.link).and_then(|mux| mux.stream_mut(stream));
        match state {
            Some(Stream { tunnel: Some(tunnel), .. }) => {
                tunnel.eof = true;
                self.touch_carrier(carrier);
            }
            Some(_) => self.on_upload_end(carrier, now),
            None => {}
        }
    }

    /// Lets everything move that an input, or a session, has set going on a connection's streams.
    pub(super) fn settle_streams(&mut self, slot: usize, now: Instant) {
        loop {
            let Some(mux) = self.mux_on(slot) else { return };
            mux.conn.outbound();
            if let Some((stream, event)) = mux.conn.poll_event() {
                self.on_stream_event(slot, stream, event, now);
                self.obey_replies(now);
            } else if let Some(stream) = mux.ready.pop() {
                self.settle_stream(slot, stream, now);
            } else if !mux.crowded_out.is_empty() && mux.conn.has_room() {
                for stream in core::mem::take(&mut mux.crowded_out) {
                    mux.list(stream);
                }
            } else if let Some(stream) = mux.served.pop() {
                if let Some(session) = self.session_on(Carrier::stream(slot, stream)) {
                    self.on_client_room(session, now);
                    self.obey_replies(now);
                }
            } else {
                let Tally { requests: _, taken_back, trailers_dropped, pushes } = mux.conn.take_tally();
                self.stats.count_many(Cause::StreamReset, taken_back);
                self.stats.count_many(Cause::TrailersDropped, trailers_dropped);
                self.stats.pushes += pushes;
                return;
            }
        }
    }

    fn settle_stream(&mut self, slot: usize, stream: StreamId, now: Instant) {
        let Some(mux) = self.mux_on(slot) else { return };
        let Some(state) = mux.streams.get_mut(&stream) else { return };
        state.is_listed = false;
        let is_tunnel = state.tunnel.is_some();
        if state.watches_room {
            // When what is queued now has been looked at.
            mux.served.push(stream);
        }
        if is_tunnel {
            self.settle_tunnel(slot, stream, now);
        }
    }

    /// Moves the frames of a WebSocket between its machine and its stream, and ends it when both sides are done.
    fn settle_tunnel(&mut self, slot: usize, stream: StreamId, now: Instant) {
        let high = self.config.limits.write_queue_high;
        let own_queue = self.config.limits.h2_stream_queue;
        let is_held_back = self.receive_frames(Carrier::stream(slot, stream), stream, now);
        let Some(mux) = self.mux_on(slot) else { return };
        let Some(state) = mux.streams.get_mut(&stream) else { return };
        let Some(tunnel) = &mut state.tunnel else { return };
        let Some(conn) = &mut tunnel.conn else {
            // Whoever hangs up while the handshake is under way has gone.
            if tunnel.eof
                && let Some(session) = state.session
            {
                mux.conn.cancel(stream, now);
                mux.forget(stream);
                self.finish(session, Cause::ClientGone, now);
            }
            return;
        };
        let mut room = mux.conn.stream_room(stream);
        while room > 0 && !conn.outbound().is_empty() {
            let piece = conn.outbound().take_piece(room);
            room -= piece.len();
            // It fails for a stream that is gone, which an event tells.
            let _ = mux.conn.send(stream, http::Event::Body(piece), now);
        }
        mux.held -= tunnel.held;
        tunnel.held = conn.held() + conn.queued() - conn.shared();
        mux.held += tunnel.held;
        mux.deadline = earliest(mux.deadline, conn.poll_timeout());
        if conn.queued() > 0 && mux.conn.stream_queued(stream) < own_queue {
            mux.crowded_out.push(stream);
        }
        if is_held_back && conn.queued() <= high && !core::mem::replace(&mut state.is_listed, true) {
            mux.ready.push(stream);
        }
        let Some(cause) = conn.is_closing() else { return };
        let violation = conn.violation();
        let is_news = !core::mem::replace(&mut tunnel.is_over, true);
        let (session, is_out) = (state.session, conn.queued() == 0);
        if is_out {
            let _ = mux.conn.send(stream, http::Event::End, now);
            mux.forget(stream);
        }
        let peer = mux.client;
        match session {
            Some(session) => self.lose(session, cause, now),
            // Why its session is over was counted then. What else can go wrong is the farewell.
            None if is_news && (violation.is_some() || cause == Cause::CloseTimeout) => self.stats.count(cause),
            None => {}
        }
        if is_news && violation.is_some() {
            self.report(Report::ClientRefused { peer, cause, why: None });
        }
    }

    /// Offers the frames that have come on a stream to the machine of its WebSocket; returns whether what it has to say
    /// has to leave first.
    fn receive_frames(&mut self, carrier: Carrier, stream: StreamId, now: Instant) -> bool {
        let high = self.config.limits.write_queue_high;
        loop {
            let Some(link) = self.links.at_mut(carrier.link).filter(|link| link.blocked == 0) else { return false };
            let Some(mux) = link.mux() else { return false };
            let Some(state) = mux.streams.get_mut(&stream).filter(|state| !state.is_paused) else { return false };
            let Some(Tunnel { conn: Some(conn), inbox, eof, .. }) = state.tunnel.as_deref_mut() else { return false };
            if conn.queued() > high {
                return true;
            }
            let took = conn.receive(inbox.unread(), now);
            inbox.advance(took);
            let event = conn.poll_event();
            if event.is_none() && *eof && (took == 0 || inbox.is_empty()) {
                conn.receive_eof(now);
            }
            mux.conn.release(stream, took, now);
            match event {
                Some(event) => {
                    self.on_websocket_event(carrier, event, now);
                    // At once: what an app does with this message may be why the next has to wait.
                    self.obey_replies(now);
                }
                None if took == 0 => {
                    self.refuse_hoarder(carrier, now);
                    return false;
                }
                None => {}
            }
        }
    }
}
