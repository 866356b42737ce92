//! The guard in front of the protocol: what frames a client sends, and how many of each kind.
//!
//! The protocol's own machine answers or forgets most frames without telling anybody, so floods are counted here, from
//! the frames' headers, before it sees them. Each kind has an allowance of its own, which comes back evenly over
//! half a minute; past it the connection is told to calm down and closed.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::frame::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, ErrorCode, Frames, GOAWAY, HEADER, HEADERS, Head, PADDED, PING,
    PREFACE, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, Seen, WINDOW_UPDATE,
};
use crate::error::Cause;
use crate::http::Allowance;
use crate::limits::Limits;
use crate::time::Instant;

/// WINDOW_UPDATE frames that each DATA frame sent explains: one for its stream, one for the connection.
const UPDATES_PER_DATA: u32 = 2;

/// PRIORITY frames that each request explains.
const PRIORITIES_PER_REQUEST: u32 = 2;

/// DATA frames with nothing but padding that a connection may have in its life.
const PADDED_EMPTY_MAX: u32 = 100;

/// Opened streams that are remembered until they are accepted or refused: more than one step of input can open.
const OPENED_MAX: usize = 4096;

/// What stands in front of the protocol's machine.
#[derive(Debug)]
pub(super) struct Guard {
    /// Bytes of the preface that have come.
    preface: u8,
    frames: Frames,
    /// The client's first SETTINGS have come.
    greeted: bool,
    /// Inside a head: how many CONTINUATION frames it has had.
    block: Option<usize>,
    /// How many heads have begun.
    blocks: u64,
    /// The highest stream that the client has opened.
    last_stream: u32,
    /// Streams that the client has opened and that were neither accepted nor refused, oldest first.
    opened: VecDeque<u32>,
    /// Streams that the client has reset, for [`take_resets`](Self::take_resets).
    resets: Vec<(u32, ErrorCode)>,
    /// DATA frames with nothing but padding.
    padded_empty: u32,
    resetting: Allowance,
    erring: Allowance,
    settings: Allowance,
    pings: Allowance,
    empty_frames: Allowance,
    window_updates: Allowance,
    priorities: Allowance,
}

impl Guard {
    pub(super) fn new() -> Self {
        Self {
            preface: 0,
            frames: Frames::new(),
            greeted: false,
            block: None,
            blocks: 0,
            last_stream: 0,
            opened: VecDeque::new(),
            resets: Vec::new(),
            padded_empty: 0,
            resetting: Allowance::default(),
            erring: Allowance::default(),
            settings: Allowance::default(),
            pings: Allowance::default(),
            empty_frames: Allowance::default(),
            window_updates: Allowance::default(),
            priorities: Allowance::default(),
        }
    }

    /// Looks at bytes and appends to `into` what the protocol's machine is to get of them: all but the headers of empty
    /// frames, and not yet the start of a header that is not whole; up to the frame that is too much, if one is.
    pub(super) fn inspect(
        &mut self,
        data: &[u8],
        into: &mut Vec<u8>,
        limits: &Limits,
        now: Instant,
    ) -> Result<(), Cause> {
        let data = self.pass_preface(data, into)?;
        let mut frames = self.frames;
        let (mut start, mut carried) = (0, frames.partial_head());
        let result = frames.scan(data, |seen| match seen {
            Seen::Head(head, end) => {
                // Its start came with earlier bytes, or is part of these.
                let began = end.saturating_sub(HEADER).max(start);
                let result = self.see_head(head, limits, now);
                if result.is_err() || self.is_for_nothing(head) {
                    into.extend_from_slice(&data[start..began]);
                    start = end;
                } else if carried > 0 {
                    into.extend_from_slice(&head.bytes());
                    start = end;
                }
                carried = 0;
                result
            }
            Seen::Payload(head, bytes) => self.see_payload(head, bytes, limits, now),
        });
        self.frames = frames;
        result?;
        let end = data.len() - (frames.partial_head() - carried);
        into.extend_from_slice(&data[start..end.max(start)]);
        Ok(())
    }

    /// The client has said what every client says first.
    pub(super) fn is_greeted(&self) -> bool {
        self.greeted
    }

    /// The number of the head that has begun and not ended.
    pub(super) fn open_block(&self) -> Option<u64> {
        let in_headers = self.frames.inside().is_some_and(|head| matches!(head.kind, HEADERS | CONTINUATION));
        (in_headers || self.block.is_some()).then_some(self.blocks)
    }

    /// How many streams the client has opened that are neither accepted nor refused.
    pub(super) fn opened(&self) -> usize {
        self.opened.len()
    }

    /// A stream was accepted, or refused: it is not waited for any more. Returns whether it was.
    pub(super) fn settle(&mut self, stream: u32) -> bool {
        if self.opened.front() == Some(&stream) {
            self.opened.pop_front();
            return true;
        }
        let found = self.opened.iter().position(|id| *id == stream);
        found.is_some_and(|at| self.opened.remove(at).is_some())
    }

    /// Streams that the client has reset since the last call.
    pub(super) fn take_resets(&mut self) -> Vec<(u32, ErrorCode)> {
        core::mem::take(&mut self.resets)
    }

    /// DATA frames were sent: as many updates of windows are to be expected.
    pub(super) fn sent_data(&mut self, frames: u32, limits: &Limits) {
        if frames > 0 {
            self.window_updates.give_back(frames.saturating_mul(UPDATES_PER_DATA), limits.h2_window_updates);
        }
    }

    /// A stream had to be reset for what the client did (CVE-2025-8671, "MadeYouReset").
    pub(super) fn sent_error(&mut self, limits: &Limits, now: Instant) -> Result<(), Cause> {
        self.erring.spend(limits.h2_errors, now, Cause::StreamErrors)
    }

    fn pass_preface<'d>(&mut self, data: &'d [u8], into: &mut Vec<u8>) -> Result<&'d [u8], Cause> {
        let expected = &PREFACE[usize::from(self.preface)..];
        let n = expected.len().min(data.len());
        if data[..n] != expected[..n] {
            return Err(Cause::PrefaceMalformed);
        }
        self.preface += n as u8;
        into.extend_from_slice(&data[..n]);
        Ok(&data[n..])
    }

    fn see_head(&mut self, head: Head, limits: &Limits, now: Instant) -> Result<(), Cause> {
        if let Some(continuations) = self.block {
            // Anything else here is refused by the protocol's machine (RFC 9113, 6.10).
            if head.kind == CONTINUATION {
                if continuations >= limits.h2_continuations {
                    return Err(Cause::ContinuationFlood);
                }
                self.block = (!head.has(END_HEADERS)).then_some(continuations + 1);
            }
            return Ok(());
        }
        // RFC 9113, 3.4: SETTINGS are the rest of the preface.
        if !self.greeted && head.kind != SETTINGS {
            return Err(Cause::PrefaceMalformed);
        }
        match head.kind {
            DATA if head.len == 0 && !head.has(END_STREAM) => self.see_empty(limits, now)?,
            HEADERS => self.see_headers(head, limits),
            PRIORITY => self.priorities.spend(limits.h2_priorities, now, Cause::PriorityFlood)?,
            RST_STREAM => self.resetting.spend(limits.h2_resets, now, Cause::RapidReset)?,
            SETTINGS => {
                self.greeted = true;
                self.settings.spend(limits.h2_settings, now, Cause::SettingsFlood)?;
            }
            PING => self.pings.spend(limits.h2_pings, now, Cause::PingFlood)?,
            WINDOW_UPDATE => self.window_updates.spend(limits.h2_window_updates, now, Cause::WindowUpdateFlood)?,
            DATA | CONTINUATION | PUSH_PROMISE => {}
            // It says nothing that has to be said twice.
            GOAWAY => self.see_empty(limits, now)?,
            // Types that nobody knows are ignored (RFC 9113, 5.5).
            _ => self.see_empty(limits, now)?,
        }
        Ok(())
    }

    /// Whether a frame is DATA without any, which the protocol's machine would take offence at: it bears a hundred in a
    /// connection's life.
    fn is_for_nothing(&self, head: Head) -> bool {
        let on_request = head.stream % 2 == 1 && head.stream <= self.last_stream;
        head.kind == DATA && head.len == 0 && !head.has(END_STREAM | PADDED) && on_request && self.block.is_none()
    }

    fn see_headers(&mut self, head: Head, limits: &Limits) {
        self.blocks += 1;
        self.block = (!head.has(END_HEADERS)).then_some(0);
        if head.stream > self.last_stream {
            self.last_stream = head.stream;
            self.priorities.give_back(PRIORITIES_PER_REQUEST, limits.h2_priorities);
            if self.opened.len() == OPENED_MAX {
                self.opened.pop_front();
            }
            self.opened.push_back(head.stream);
        }
    }

    fn see_payload(&mut self, head: Head, bytes: &[u8], limits: &Limits, now: Instant) -> Result<(), Cause> {
        match (head.kind, bytes) {
            (RST_STREAM, bytes) => {
                if let Some(code) = bytes.first_chunk() {
                    self.resets.push((head.stream, ErrorCode(u32::from_be_bytes(*code))));
                }
            }
            (DATA, [padding]) if u32::from(*padding) + 1 >= head.len && !head.has(END_STREAM) => {
                // Nobody has a reason to; and these, which use the window, cannot be left out.
                self.padded_empty += 1;
                if self.padded_empty > PADDED_EMPTY_MAX {
                    return Err(Cause::EmptyFrameFlood);
                }
                self.see_empty(limits, now)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn see_empty(&mut self, limits: &Limits, now: Instant) -> Result<(), Cause> {
        self.empty_frames.spend(limits.h2_empty_frames, now, Cause::EmptyFrameFlood)
    }
}
