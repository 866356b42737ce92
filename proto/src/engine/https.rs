//! What virtual hosts want of TLS: that clients come by it, remember that they should, and meet whom their handshake
//! was for.
//!
//! ```text
//!  in clear text ──▶ https-redirect? ──▶ sent to TLS
//!        └───────────────── no ───────────────────────────┐
//!  by TLS ──▶ hsts is added ──▶ handshake for this host? ─┴─▶ on to a node
//!                                    └── no ──▶ 421, if the host asks for certificates
//! ```

use alloc::string::String;
use alloc::sync::Arc;

use super::Engine;
use super::carrier::Carrier;
use super::link::Protocol;
use crate::error::Cause;
use crate::http::{AddedField, Request, reason};
use crate::tls::{ClientCertificate, Facts};

/// Why a request does not go on, and the status that says so.
pub(super) struct Refusal {
    pub cause: Cause,
    pub status: u16,
}

impl From<Cause> for Refusal {
    fn from(cause: Cause) -> Self {
        Self { cause, status: cause.status() }
    }
}

impl Engine {
    /// Does what a virtual host wants of TLS with a request to it. `is_https` if it came by TLS, to here or to a proxy
    /// that is trusted.
    pub(super) fn guard_https(
        &mut self,
        carrier: Carrier,
        listener: usize,
        host: usize,
        is_https: bool,
        request: &Request,
    ) -> Result<(), Refusal> {
        let wants = &self.hosts.list[host];
        if !is_https {
            let Some(status) = wants.https_redirect else { return Ok(()) };
            debug_assert_ne!(reason(status), "Unknown", "the configuration knows four");
            let location = self.secure_location(host, request).ok_or(Cause::HostMissing)?;
            // What is in a request line, and the name of a host, can stand in a field.
            let location = AddedField::new("Location", location.as_bytes()).map_err(|_| Cause::TargetMalformed)?;
            self.add_field(carrier, Arc::new(location));
            return Err(Refusal { cause: Cause::HttpsNeeded, status });
        }
        let asks = wants.asks_certificates;
        if let Some(hsts) = &wants.hsts {
            let hsts = Arc::clone(hsts);
            self.add_field(carrier, hsts);
        }
        let facts = self.links.at(carrier.link).and_then(|link| link.facts());
        // Another host's handshake has asked for no certificate, or for those of others (RFC 9110, 7.4).
        if asks && facts.is_some_and(|facts| self.hosts.reached_by(listener).get(facts.entry) != Some(&host)) {
            return Err(Cause::HostMisdirected.into());
        }
        Ok(())
    }

    /// Where a request in clear text should have gone.
    fn secure_location(&self, host: usize, request: &Request) -> Option<String> {
        let wants = &self.hosts.list[host];
        let name = match request.hostname() {
            b"" if wants.name.starts_with('*') => return None,
            b"" => crate::address::split_port(&wants.name).0,
            name => core::str::from_utf8(name).ok()?,
        };
        let port = match wants.https_listener.map(|listener| self.listeners[listener].port()) {
            // Whoever listens elsewhere than on a port of TCP is behind somebody who does.
            None | Some(0 | 443) => String::new(),
            Some(port) => format!(":{port}"),
        };
        let target = core::str::from_utf8(request.target()).ok()?;
        Some(format!("https://{name}{port}{}", origin_form(target)))
    }

    fn add_field(&mut self, carrier: Carrier, field: Arc<AddedField>) {
        match (self.links.at_mut(carrier.link).map(|link| &mut link.protocol), carrier.stream) {
            (Some(Protocol::Http(http)), _) => http.conn.add_field(field),
            (Some(Protocol::Mux(mux)), Some(stream)) => mux.conn.add_field(stream, field),
            (Some(Protocol::Mux(_)), None) => {}
            (Some(Protocol::WebSocket(_) | Protocol::Proxy(_) | Protocol::Node(_)) | None, _) => {}
        }
    }

    /// The status that tells this client of a cause. Who asks for a host by HTTP/2, SPDY or TLS may have it from
    /// another server, and only came here for its certificate (RFC 9110, 15.5.20).
    pub(super) fn refusal_on(&self, carrier: Carrier, cause: Cause) -> Refusal {
        let may_be_elsewhere =
            carrier.stream.is_some() || self.links.at(carrier.link).is_some_and(|link| link.is_tls());
        if cause == Cause::HostUnknown && may_be_elsewhere { Refusal { cause, status: 421 } } else { cause.into() }
    }
}

/// What a node is told of a client's TLS, by the names that other servers use.
pub(super) struct Variables<'f> {
    list: [(&'static str, &'f str); 7],
    len: usize,
}

impl<'f> Variables<'f> {
    /// Of clients without TLS there is nothing to tell. `asks` if their host asks for certificates.
    pub fn new(facts: Option<&'f Facts>, asks: bool, fingerprint: Option<&'f str>) -> Self {
        let mut variables = Self { list: [("", ""); 7], len: 0 };
        let Some(facts) = facts else { return variables };
        variables.push("SSL_PROTOCOL", facts.version.name());
        variables.push("SSL_CIPHER", facts.cipher);
        match &facts.client {
            // A handshake for another host may have asked, and be none of this one's business.
            Some(client) if asks => {
                variables.push("SSL_CLIENT_VERIFY", "SUCCESS");
                variables.push("SSL_CLIENT_S_DN", &client.subject);
                variables.push("SSL_CLIENT_I_DN", &client.issuer);
                variables.push("SSL_CLIENT_SERIAL", &client.serial);
                variables.push("SSL_CLIENT_FINGERPRINT", fingerprint.unwrap_or_default());
            }
            None if asks => variables.push("SSL_CLIENT_VERIFY", "NONE"),
            Some(_) | None => {}
        }
        variables
    }

    fn push(&mut self, name: &'static str, value: &'f str) {
        self.list[self.len] = (name, value);
        self.len += 1;
    }

    pub fn list(&self) -> &[(&'static str, &'f str)] {
        &self.list[..self.len]
    }
}

/// The fingerprint of a client's certificate, in digits.
pub(super) fn fingerprint_of(facts: &Facts) -> Option<String> {
    facts.client.as_ref().map(ClientCertificate::fingerprint_hex)
}

/// The path and query of a target, for behind an authority.
fn origin_form(target: &str) -> &str {
    match target.split_once("://") {
        _ if target.starts_with('/') => target,
        Some((_, rest)) => rest.find(['/', '?']).map_or("", |at| &rest[at..]),
        // `*` means the server as a whole, which has no path.
        None => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_put_behind_another_authority() {
        for (target, expected) in [
            ("/", "/"),
            ("/a%20b?c=d://e", "/a%20b?c=d://e"),
            ("/a?", "/a?"),
            ("http://a.test", ""),
            ("http://a.test:81/b?c", "/b?c"),
            ("HTTP://a.test?c/d", "?c/d"),
            ("*", ""),
        ] {
            assert_eq!(origin_form(target), expected, "{target}");
        }
    }
}
