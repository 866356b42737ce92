//! The receiving half: frames in, events out.
//!
//! ```text
//! Head -> Block -> Head            SYN_STREAM, SYN_REPLY, HEADERS: decompressed as they come
//! Head -> Data -> Head             handed on as they come
//! Head -> Skip -> Head             nobody's data, and frames that nobody knows
//! Head -> Head                     all others, whole
//! ```

use alloc::vec::Vec;
use core::mem;

use super::deflate::Inflater;
use super::frame::{
    CREDENTIAL, GOAWAY, HEADER, HEADERS, Head, INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, NOOP, PING, RST_STREAM,
    SETTINGS, SYN_REPLY, SYN_STREAM, SYN_STREAM_FIXED, StatusCode, Version, WINDOW_UPDATE, number_31, read_settings,
};
use super::{Connection, Event, STEP};
use crate::error::Cause;
use crate::http::{self, Allowance, StreamId};
use crate::limits::Limits;
use crate::time::Instant;

/// Events that one call makes at most, but for the last frame's.
const EVENTS_MAX: usize = 64;

/// Settings in one frame. The drafts know eight.
const SETTINGS_MAX: usize = 32;

/// What a RST_STREAM may say beside its code; some clients say why.
const RESET_EXTRA_MAX: usize = 256;

/// A header block that is this many times too large is no mistake.
const BOMB: usize = 4;

/// WINDOW_UPDATE frames that each DATA frame sent explains: one for its stream, one for the connection.
const UPDATES_PER_DATA: u32 = 2;

/// What frames a peer may send that cost it less than us.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Guard {
    resetting: Allowance,
    erring: Allowance,
    settings: Allowance,
    pings: Allowance,
    empty_frames: Allowance,
    window_updates: Allowance,
}

impl Guard {
    /// A DATA frame was sent: updates of windows are to be expected.
    pub(super) fn sent_data(&mut self, limits: &Limits) {
        self.window_updates.give_back(UPDATES_PER_DATA, limits.h2_window_updates);
    }
}

/// What is being read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reading {
    /// The head of a frame, or a small frame.
    Head,
    /// A header block of which this many compressed bytes are to come.
    Block { of: Block, left: usize },
    /// A DATA frame of which this many bytes are to come.
    Data { stream: u32, is_last: bool, left: usize },
    /// Bytes for nobody; `counts` in the connection's window.
    Skip { left: usize, counts: bool },
}

/// The frame that a header block belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) kind: u16,
    pub(super) flags: u8,
    pub(super) stream: u32,
    /// Those of a SYN_STREAM, 0 of others.
    pub(super) associated: u32,
    pub(super) priority: u8,
    pub(super) slot: u8,
}

impl Connection {
    /// Takes bytes that the peer sent and returns how many; the caller keeps the rest and offers it again, followed
    /// by newer bytes. Takes nothing while [`room`](Self::room) is zero; takes and ignores everything once the
    /// connection is closing.
    pub fn receive(&mut self, data: &[u8], now: Instant) -> usize {
        self.now = now;
        if self.closing.is_none() && !self.events.is_empty() {
            return 0;
        }
        self.event_bytes = 0;
        let mut used = 0;
        while self.closing.is_none() && self.has_event_room() && !self.is_held_back() {
            match self.read_step(&data[used..]) {
                Ok(0) => break,
                Ok(n) => used += n,
                Err(cause) => self.violate(cause),
            }
        }
        self.push_gathered();
        self.update_phase();
        self.check_books();
        if self.closing.is_some() { data.len() } else { used }
    }

    fn has_event_room(&self) -> bool {
        self.events.len() < EVENTS_MAX && self.event_bytes + self.gathered.1.len() < STEP
    }

    /// The number of the header block that has begun and not ended.
    pub(super) fn open_block(&self) -> Option<u32> {
        matches!(self.reading, Reading::Block { .. }).then_some(self.blocks)
    }

    /// Reads the next part of a frame; returns how many bytes it had, 0 if more have to come.
    fn read_step(&mut self, data: &[u8]) -> Result<usize, Cause> {
        if data.is_empty() {
            return Ok(0);
        }
        match self.reading {
            Reading::Head => match data.first_chunk() {
                Some(head) => self.read_head(Head::read(head), data),
                None => Ok(0),
            },
            Reading::Block { of, left } => {
                let n = left.min(data.len());
                self.inflate(&data[..n])?;
                self.reading = Reading::Block { of, left: left - n };
                if n == left {
                    self.reading = Reading::Head;
                    self.finish_block(of)?;
                }
                Ok(n)
            }
            Reading::Data { stream, is_last, left } => {
                // Else one frame could be of any size in SPDY/2.
                let n = left.min(data.len()).min(STEP);
                self.reading = Reading::Data { stream, is_last, left: left - n };
                if n == left {
                    self.reading = Reading::Head;
                }
                self.on_data(stream, &data[..n]);
                if n == left && is_last {
                    self.on_data_end(stream);
                }
                Ok(n)
            }
            Reading::Skip { left, counts } => {
                let n = left.min(data.len());
                self.reading = if n == left { Reading::Head } else { Reading::Skip { left: left - n, counts } };
                if counts {
                    self.give_back(n);
                }
                Ok(n)
            }
        }
    }

    fn read_head(&mut self, head: Head, data: &[u8]) -> Result<usize, Cause> {
        let (kind, flags, len) = match head {
            Head::Data { .. } if !self.is_greeted => return Err(Cause::FramingMalformed),
            Head::Data { stream, flags, len } => {
                self.on_data_head(stream, flags, len as usize)?;
                return Ok(HEADER);
            }
            Head::Control { version, .. } if !Head::is_of(version, self.version) => {
                return Err(Cause::VersionUnsupported);
            }
            Head::Control { kind, flags, len, .. } => (kind, flags, len as usize),
        };
        let fixed = match kind {
            SYN_STREAM => SYN_STREAM_FIXED,
            SYN_REPLY | HEADERS => self.version.reply_fixed(),
            _ => return self.read_small(kind, len, data),
        };
        if len < fixed || len > fixed + BOMB * self.block_max() {
            return Err(Cause::FrameSizeWrong);
        }
        let Some(fields) = data.get(HEADER..HEADER + fixed) else { return Ok(0) };
        let mut of = Block { kind, flags, stream: number_31(fields), associated: 0, priority: 0, slot: 0 };
        if let (SYN_STREAM, [.., priority, slot]) = (kind, fields) {
            of.associated = number_31(&fields[4..]);
            of.priority = priority >> self.version.priority_shift();
            of.slot = *slot;
        }
        self.is_greeted = true;
        self.blocks = self.blocks.wrapping_add(1);
        self.reading = Reading::Block { of, left: len - fixed };
        if len == fixed {
            self.reading = Reading::Head;
            self.finish_block(of)?;
        }
        Ok(HEADER + fixed)
    }

    /// Reads a frame that is taken whole, or not at all.
    fn read_small(&mut self, kind: u16, len: usize, data: &[u8]) -> Result<usize, Cause> {
        let limits = &self.settings.limits;
        let is_v2 = self.version == Version::V2;
        let lens = match kind {
            RST_STREAM => 8..=8 + RESET_EXTRA_MAX,
            SETTINGS => 4..=4 + 8 * SETTINGS_MAX,
            PING => 4..=4,
            NOOP if is_v2 => 0..=0,
            // Some clients say why in SPDY/2 too.
            GOAWAY if is_v2 => 4..=8,
            GOAWAY => 8..=8,
            WINDOW_UPDATE => 8..=8,
            CREDENTIAL if self.version() == Version::V3 => return Err(Cause::CredentialUnsupported),
            // Types that nobody knows are ignored (draft 3, 2.2.1).
            _ => {
                self.on_empty()?;
                self.is_greeted = true;
                if len > 0 {
                    self.reading = Reading::Skip { left: len, counts: false };
                }
                return Ok(HEADER);
            }
        };
        if !lens.contains(&len) {
            return Err(Cause::FrameSizeWrong);
        }
        let Some(payload) = data.get(HEADER..HEADER + len) else { return Ok(0) };
        self.is_greeted = true;
        match kind {
            RST_STREAM => {
                self.guard.resetting.spend(limits.h2_resets, self.now, Cause::RapidReset)?;
                self.on_reset(number_31(payload), StatusCode(number_31(&payload[4..])));
            }
            SETTINGS => {
                self.guard.settings.spend(limits.h2_settings, self.now, Cause::SettingsFlood)?;
                self.on_settings(payload)?;
            }
            PING => {
                self.guard.pings.spend(limits.h2_pings, self.now, Cause::PingFlood)?;
                self.on_ping(payload);
            }
            GOAWAY => {
                self.on_empty()?;
                self.on_go_away(number_31(payload));
            }
            WINDOW_UPDATE => {
                self.guard.window_updates.spend(limits.h2_window_updates, self.now, Cause::WindowUpdateFlood)?;
                self.on_window_update(number_31(payload), number_31(&payload[4..]))?;
            }
            _ => self.on_empty()?,
        }
        Ok(HEADER + len)
    }

    /// Bytes of a header block in clear that are kept: a head as large as allowed, and what stands around its fields.
    fn block_max(&self) -> usize {
        let limits = &self.settings.limits;
        limits.head_bytes.saturating_add(limits.fields.saturating_mul(8)).min(1 << 22)
    }

    fn inflate(&mut self, mut data: &[u8]) -> Result<(), Cause> {
        let most = self.block_max();
        let inflater = self.inflater.get_or_insert_with(|| Inflater::new(self.version));
        loop {
            if self.block.len() == self.block.capacity() {
                self.block.reserve_exact((4 * data.len()).clamp(256, STEP).max(self.block.len()));
            }
            let result = inflater.inflate(data, &mut self.block);
            // The rest is decompressed all the same: what follows refers to it.
            if self.block_over > 0 || self.block.len() > most {
                self.block_over += self.block.len();
                self.block.clear();
                if self.block_over > BOMB * most {
                    return Err(Cause::HeaderBomb);
                }
            }
            match result? {
                (_, true) => return Ok(()),
                (used, false) => data = &data[used..],
            }
        }
    }

    /// A header block is complete.
    fn finish_block(&mut self, of: Block) -> Result<(), Cause> {
        let block = mem::take(&mut self.block);
        let is_too_large = mem::take(&mut self.block_over) > 0;
        if is_too_large {
            // Few bytes become many, and come to nothing.
            self.guard.erring.spend(self.settings.limits.h2_errors, self.now, Cause::StreamErrors)?;
        }
        let text = (!is_too_large).then_some(&block[..]);
        self.event_bytes += block.len();
        self.push_gathered();
        match of.kind {
            SYN_STREAM if self.is_server => self.on_syn_stream(of, text)?,
            SYN_STREAM => self.on_pushed(of, text)?,
            SYN_REPLY => self.on_syn_reply(of, text)?,
            _ => self.on_headers(of, text)?,
        }
        // The room is kept for the next one while there is something going on.
        if !self.streams.is_empty() && block.capacity() <= STEP && self.closing.is_none() {
            self.block = block;
            self.block.clear();
        }
        Ok(())
    }

    /// A frame came that says nothing worth its cost.
    pub(super) fn on_empty(&mut self) -> Result<(), Cause> {
        self.guard.empty_frames.spend(self.settings.limits.h2_empty_frames, self.now, Cause::EmptyFrameFlood)
    }

    /// The peer has done something wrong on a stream, which ends.
    pub(super) fn stream_error(&mut self, stream: u32, cause: Cause, code: StatusCode) -> Result<(), Cause> {
        self.guard.erring.spend(self.settings.limits.h2_errors, self.now, Cause::StreamErrors)?;
        if stream == 0 {
            return Err(cause);
        }
        match self.find(stream) {
            Some(_) => self.cut(stream, cause, Some(code)),
            None => self.write_reset(stream, code),
        }
        Ok(())
    }

    /// Whether a number is one of those that this side gives to streams and PINGs.
    fn is_ours(&self, id: u32) -> bool {
        id.is_multiple_of(2) == self.is_server
    }

    /// Whether a stream that is not there was: what is on its way to it is nobody's.
    pub(super) fn is_closed(&self, stream: u32) -> bool {
        stream != 0 && if self.is_ours(stream) { stream < self.next_stream } else { stream <= self.last_opened }
    }

    fn on_reset(&mut self, id: u32, code: StatusCode) {
        let cause = match code {
            StatusCode::REFUSED_STREAM if !self.is_server => Cause::StreamRefused,
            _ => Cause::StreamReset,
        };
        match self.find(id) {
            Some(at) => self.take_back(at, id, cause),
            // Where its answer has left already, what was pushed with it may still be under way.
            None if code == StatusCode::CANCEL && id != 0 => {}
            None => return,
        }
        // Whoever cancels a request does not want what was pushed with it (draft 3, 3.3.2).
        let pushed: Vec<u32> =
            self.streams.iter().filter(|stream| stream.associated == id).map(|stream| stream.id).collect();
        for pushed in pushed {
            self.cut(pushed, cause, Some(StatusCode::CANCEL));
        }
    }

    /// The peer has reset a stream. A request that nobody was shown leaves no trace.
    fn take_back(&mut self, at: usize, id: u32, cause: Cause) {
        self.push_gathered();
        let is_unseen = |(stream, event): &(StreamId, Event)| {
            stream.0 == id && matches!(event, Event::Part(http::Event::Request(_)))
        };
        if self.is_server && self.events.iter().any(is_unseen) {
            self.tally.taken_back += 1;
            self.events.retain(|(stream, _)| stream.0 != id);
            self.remove(at);
        } else {
            self.cut(id, cause, None);
        }
    }

    fn on_settings(&mut self, payload: &[u8]) -> Result<(), Cause> {
        for (id, value) in read_settings(payload, self.version).ok_or(Cause::FramingMalformed)? {
            match id {
                MAX_CONCURRENT_STREAMS => self.peer_streams = value,
                INITIAL_WINDOW_SIZE if self.version.has_windows() => self.on_initial_window(value)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn on_ping(&mut self, payload: &[u8]) {
        let id = payload.first_chunk().map_or(0, |id| u32::from_be_bytes(*id));
        if !self.is_ours(id) {
            let writer = self.writer();
            return self.outbound.push_with(16, |out| writer.ping(out, id));
        }
        self.on_asked(id);
        if let Some((_, sent)) = self.pinged.take_if(|(pinged, _)| *pinged == id) {
            self.round_trip = Some(self.now.since(sent));
        }
    }

    /// The peer goes, and has looked at none of our streams above this one.
    fn on_go_away(&mut self, last_good: u32) {
        self.is_left = true;
        let lost: Vec<u32> =
            self.streams.iter().map(|stream| stream.id).filter(|id| self.is_ours(*id) && *id > last_good).collect();
        for id in lost {
            self.cut(id, Cause::StreamRefused, None);
        }
        if self.streams.is_empty() && self.closing.is_none() {
            self.close(Cause::Complete);
        }
    }
}
