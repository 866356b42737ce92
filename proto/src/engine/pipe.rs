//! Pipes: what comes from a client goes straight to others, past its node.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::Engine;
use super::session::Found;
use crate::error::Cause;
use crate::message::{Kind, Route, Sid};

/// Pipes of one session.
const PIPES_MAX: usize = 8;

/// Where a client's messages go instead of to its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pipe {
    pub to: Destination,
    /// It takes WebSocket messages.
    pub websocket: bool,
    /// It takes pieces of request bodies.
    pub body: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    Group(Box<[u8]>),
    Session(Sid),
}

impl Pipe {
    /// Reads `DEST:TYPE[,TYPE...]`.
    fn parse(text: &[u8]) -> Result<Self, Cause> {
        let (to, types) = Route::split(text).ok_or(Cause::PipeMalformed)?;
        let to = match Route::parse(to) {
            Some(Route::Group(name)) => Destination::Group(name.into()),
            Some(Route::Session(sid)) => Destination::Session(sid),
            None if to.first() == Some(&b'@') => return Err(Cause::PipeMalformed),
            None => return Err(Cause::GroupMalformed),
        };
        let mut pipe = Self { to, websocket: false, body: false };
        for name in types.split(|byte| *byte == b',') {
            match Kind::from_frame(name) {
                Some(Kind::WebSocket) => pipe.websocket = true,
                Some(Kind::Body) => pipe.body = true,
                Some(_) | None => return Err(Cause::PipeMalformed),
            }
        }
        Ok(pipe)
    }
}

impl Engine {
    /// A node's `pipe`.
    pub(super) fn on_pipe(&mut self, slot: usize, text: &[u8]) -> Result<(), Cause> {
        let pipe = Pipe::parse(text)?;
        let Some(session) = self.sessions.at(slot) else { return Ok(()) };
        if let Destination::Session(sid) = pipe.to {
            if sid == session.sid {
                return Err(Cause::PipeLoop);
            }
            let Found::Here(target) = self.sessions.find(sid) else { return Err(Cause::RouteUnknown) };
            if self.sessions.at(target).is_none_or(|target| target.host != session.host) {
                return Err(Cause::RouteForeign);
            }
        }
        let Some(session) = self.sessions.at_mut(slot) else { return Ok(()) };
        let pipes = &mut session.bonds().pipes;
        if pipes.contains(&pipe) {
            return Ok(());
        }
        if pipes.len() >= PIPES_MAX {
            return Err(Cause::PipesMax);
        }
        let takes_body = pipe.body;
        pipes.push(pipe);
        if takes_body {
            // What goes elsewhere cannot be sent to another node.
            self.memory -= session.kept.len;
            session.kept.lose();
        }
        Ok(())
    }

    /// A node's `unpipe`.
    pub(super) fn on_unpipe(&mut self, slot: usize, text: &[u8]) -> Result<(), Cause> {
        let gone = if text.is_empty() { None } else { Some(Pipe::parse(text)?) };
        let Some(session) = self.sessions.at_mut(slot) else { return Ok(()) };
        let pipes = &mut session.bonds().pipes;
        let before = pipes.len();
        pipes.retain(|pipe| gone.as_ref().is_some_and(|gone| gone != pipe));
        if gone.is_some() && pipes.len() == before { Err(Cause::PipeUnknown) } else { Ok(()) }
    }

    /// Where messages of this session's client go past its node.
    pub(super) fn pipes_of(&self, slot: usize, which: impl Fn(&Pipe) -> bool) -> Vec<Destination> {
        let Some(bonds) = self.sessions.at(slot).and_then(|session| session.bonds.as_ref()) else { return Vec::new() };
        bonds.pipes.iter().filter(|pipe| which(pipe)).map(|pipe| pipe.to.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_names_its_destination_and_its_types() {
        let pipe = Pipe::parse(b"video:websocket,body").unwrap();
        assert_eq!(pipe, Pipe { to: Destination::Group(b"video"[..].into()), websocket: true, body: true });
        let pipe = Pipe::parse(b"@0123456789abcdef:body").unwrap();
        assert_eq!(pipe, Pipe { to: Destination::Session(Sid(*b"0123456789abcdef")), websocket: false, body: true });
        for (text, cause) in [
            (&b""[..], Cause::PipeMalformed),
            (b"video", Cause::PipeMalformed),
            (b"video:", Cause::PipeMalformed),
            (b"video:websocket,", Cause::PipeMalformed),
            (b"video:chunk", Cause::PipeMalformed),
            (b"@short:body", Cause::PipeMalformed),
            (b":body", Cause::GroupMalformed),
        ] {
            assert_eq!(Pipe::parse(text), Err(cause), "{}", text.escape_ascii());
        }
    }
}
