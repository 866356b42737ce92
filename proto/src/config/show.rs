//! The parsed form of a configuration, as an ini file that parses back to the same configuration.

use core::fmt;

use super::keys::{Field, LIMITS};
use super::value::{self, Seconds};
use super::{Config, Host, Listener, NodeName, Password, Serves};
use super::{LOG_FORMATS, LOG_LEVELS, NODE_LOSS, ON_OFF, REDISPATCH, SLOW_CLIENT, WEBSOCKET_DEFLATE};
use super::{socketio, tls};

impl fmt::Display for Config {
    /// Writes every value, defaults included, passwords too: show [`redacted`](Config::redacted) ones to people.
    ///
    /// What is written parses back to an equal configuration, but for the contents of files.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[blastbeat]")?;
        self.write_ways(f, None)?;
        write_passwords(f, &self.passwords)?;
        self.write_limits(f)?;
        writeln!(f, "ping-freq = {}", Seconds(self.ping_freq))?;
        writeln!(f, "stats-freq = {}", Seconds(self.stats_freq))?;
        writeln!(f, "drain-timeout = {}", Seconds(self.drain_timeout))?;
        writeln!(f, "redispatch = {}", value::chosen(&self.redispatch, REDISPATCH))?;
        writeln!(f, "slow-client = {}", value::chosen(&self.slow_client, SLOW_CLIENT))?;
        writeln!(f, "node-loss = {}", value::chosen(&self.node_loss, NODE_LOSS))?;
        writeln!(f, "websocket-deflate = {}", value::chosen(&self.websocket_deflate, WEBSOCKET_DEFLATE))?;
        socketio::write(f, &self.socketio)?;
        tls::write_identity(f, self.identity.as_ref())?;
        writeln!(f, "sni-strict = {}", value::chosen(&self.sni_strict, ON_OFF))?;
        writeln!(f, "tls-tickets = {}", value::chosen(&self.tls_tickets, ON_OFF))?;
        writeln!(f, "tls-sessions = {}", self.tls_sessions)?;
        writeln!(f, "half-close = {}", value::chosen(&self.half_close, ON_OFF))?;
        for network in &self.trusted_proxies {
            writeln!(f, "trusted-proxy = {network}")?;
        }
        for (status, page) in &self.error_pages {
            writeln!(f, "error-page = {status} {}", page.path.display())?;
        }
        write_some(f, "uid", self.privileges.user.as_ref())?;
        write_some(f, "gid", self.privileges.group.as_ref())?;
        writeln!(f, "access-log = {}", value::chosen(&self.access_log, ON_OFF))?;
        writeln!(f, "log-format = {}", value::chosen(&self.log.json, LOG_FORMATS))?;
        writeln!(f, "log-level = {}", value::chosen(&self.log.level, LOG_LEVELS))?;
        for (index, host) in self.hosts.iter().enumerate() {
            writeln!(f, "\n[blastbeat:{}]", host.name)?;
            self.write_ways(f, Some(index))?;
            host.write(f)?;
        }
        Ok(())
    }
}

impl Config {
    /// Listeners and dialled endpoints of one virtual host, or of all.
    fn write_ways(&self, f: &mut fmt::Formatter<'_>, host: Option<usize>) -> fmt::Result {
        let belongs = |hosts: &[usize]| match host {
            None => hosts.is_empty(),
            Some(host) => hosts.contains(&host),
        };
        for listener in self.listeners.iter().filter(|listener| belongs(&listener.hosts)) {
            writeln!(f, "{}", Line(listener))?;
        }
        for dial in self.dials.iter().filter(|dial| belongs(&dial.hosts)) {
            writeln!(f, "zmq-connect = {}", value::show_dial_endpoint(&dial.address))?;
        }
        Ok(())
    }

    fn write_limits(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut limits = self.limits.clone();
        for key in LIMITS {
            let name = key.name;
            match (key.field)(&mut limits) {
                Field::Size(number) | Field::Count(number) => writeln!(f, "{name} = {number}")?,
                Field::LongSize(bytes) => writeln!(f, "{name} = {bytes}")?,
                Field::Memory(bytes) => writeln!(f, "{name} = {}", value::show_memory(*bytes as u64))?,
                Field::ShortCount(count) => writeln!(f, "{name} = {count}")?,
                Field::Time(time) | Field::TimeOrNever(time) => writeln!(f, "{name} = {}", Seconds(*time))?,
            }
        }
        Ok(())
    }
}

impl Host {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for alias in &self.aliases {
            writeln!(f, "alias = {alias}")?;
        }
        for node in &self.nodes {
            writeln!(f, "node = {node}")?;
        }
        write_passwords(f, &self.passwords)?;
        write_some(f, "sessions", self.sessions)?;
        write_some(f, "timeout", self.session_timeout.map(Seconds))?;
        write_some(f, "max-body", self.body_bytes)?;
        write_some(f, "node-timeout", self.node_timeout.map(Seconds))?;
        write_some(f, "node-capacity", self.node_capacity)?;
        write_some(f, "redispatch", self.redispatch.map(|redispatch| value::chosen(&redispatch, REDISPATCH)))?;
        write_some(f, "slow-client", self.slow_client.map(|slow| value::chosen(&slow, SLOW_CLIENT)))?;
        write_some(f, "node-loss", self.node_loss.map(|loss| value::chosen(&loss, NODE_LOSS)))?;
        let deflate = self.websocket_deflate.map(|deflate| value::chosen(&deflate, WEBSOCKET_DEFLATE));
        write_some(f, "websocket-deflate", deflate)?;
        for origin in &self.websocket_origins {
            writeln!(f, "websocket-origin = {origin}")?;
        }
        for protocol in &self.websocket_protocols {
            writeln!(f, "websocket-protocol = {protocol}")?;
        }
        self.socketio.as_ref().map_or(Ok(()), |paths| socketio::write(f, paths))?;
        self.write_tls(f)
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) | Self::Pattern(name) => f.write_str(name),
            Self::App(name) => write!(f, "app:{name}"),
        }
    }
}

/// A listener as a line.
struct Line<'a>(&'a Listener);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Listener { address, serves, priority, hosts: _ } = self.0;
        match serves {
            Serves::Http { tls: false, .. } => write!(f, "bind = {address}")?,
            Serves::Http { tls: true, .. } => write!(f, "bind-ssl = {address}")?,
            Serves::Zmq => write!(f, "zmq = {}", value::show_zmq_endpoint(address))?,
        }
        if *priority != 1 {
            write!(f, " {priority}")?;
        }
        match *serves {
            Serves::Http { proxy, tls, http2, spdy } => {
                f.write_str(if proxy { " proxy" } else { "" })?;
                f.write_str(match (tls, http2) {
                    (false, true) => " h2c",
                    (true, false) => " http1",
                    (false, false) | (true, true) => "",
                })?;
                write!(f, "{spdy}")
            }
            Serves::Zmq => Ok(()),
        }
    }
}

fn write_passwords(f: &mut fmt::Formatter<'_>, passwords: &[Password]) -> fmt::Result {
    passwords.iter().try_for_each(|Password { node, password }| writeln!(f, "node-password = {node} {password}"))
}

fn write_some<T: fmt::Display>(f: &mut fmt::Formatter<'_>, key: &str, value: Option<T>) -> fmt::Result {
    value.map_or(Ok(()), |value| writeln!(f, "{key} = {value}"))
}
