//! Origins of web pages, with which browsers say whose page opens a WebSocket (RFC 6454, 6.2).
//!
//! An origin is written as browsers write it, so that it can be compared byte by byte: in lower case, and without the
//! port that its scheme has anyway. In the host, and as the port, `*` stands for any run of characters.

use core::net::Ipv6Addr;

use super::value;

/// Pages that have no origin they could show: files, sandboxed frames, redirects across sites.
const NULL: &str = "null";

/// Ports that browsers leave out.
const DEFAULT_PORTS: [(&str, &str); 2] = [("http", "80"), ("https", "443")];

/// Reads an origin: `SCHEME://HOST`, `SCHEME://HOST:PORT` or `null`.
pub(super) fn read(text: &str) -> Result<String, String> {
    let origin = text.to_ascii_lowercase();
    if origin == NULL {
        return Ok(origin);
    }
    let wrong = || {
        format!(
            "{text:?} is not an origin; write SCHEME://HOST, with a port if it is not the usual one, such as \
             https://example.org or https://*.example.org, or null"
        )
    };
    let (scheme, authority) = origin.split_once("://").ok_or_else(wrong)?;
    if matches!(scheme, "ws" | "wss") {
        return Err(format!("{text:?} is not an origin; write that of the page, which begins with http or https"));
    }
    if let Some(at) = authority.find(['/', '?', '#']) {
        return Err(format!("{text:?} goes on behind its host; leave out {:?}", &authority[at..]));
    }
    if !authority.is_ascii() {
        return Err(format!("{text:?} is not ASCII; write the host as browsers send it, beginning with xn--"));
    }
    let (host, port) = split(authority);
    if !is_scheme(scheme) || !is_host(host) {
        return Err(wrong());
    }
    let Some(port) = port else { return Ok(origin) };
    if port != "*" && (port.starts_with('0') || value::count(port, 1, 65_535).is_err()) {
        return Err(format!("{port:?} is not a port; write a number from 1 to 65535, or * for all"));
    }
    if DEFAULT_PORTS.contains(&(scheme, port)) {
        return Ok(format!("{scheme}://{host}"));
    }
    Ok(origin)
}

/// Whether a pattern also means hosts of people who have nothing to do with the one that it names: `https://example.*`
/// and `https://*example.org` are meant to be about one site, and anybody can have a name of that form.
pub(super) fn is_too_wide(origin: &str) -> bool {
    let Some((_, authority)) = origin.split_once("://") else { return false };
    let (host, _) = split(authority);
    let first = host.strip_prefix('*').is_some_and(|rest| !rest.starts_with('.'));
    host != "*" && (first || host.ends_with('*'))
}

/// Splits the port off; the colons of an IPv6 address stand in brackets.
fn split(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (authority, None),
    }
}

/// RFC 3986, 3.1: a letter, then letters, digits, `+`, `-` and `.`.
fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn is_host(host: &str) -> bool {
    if let Some(inside) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return inside.parse::<Ipv6Addr>().is_ok();
    }
    let is_host_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._*".contains(&byte);
    (1..=253).contains(&host.len()) && host.bytes().all(is_host_byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_written_as_browsers_write_them() {
        for (text, origin) in [
            ("https://example.org", "https://example.org"),
            ("HTTPS://Example.ORG", "https://example.org"),
            ("https://example.org:443", "https://example.org"),
            ("http://example.org:80", "http://example.org"),
            ("http://example.org:443", "http://example.org:443"),
            ("http://localhost:*", "http://localhost:*"),
            ("https://*.example.org", "https://*.example.org"),
            ("https://*", "https://*"),
            ("http://[::1]", "http://[::1]"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("moz-extension://0a1b-2c", "moz-extension://0a1b-2c"),
            ("null", "null"),
            ("NULL", "null"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(origin));
            assert_eq!(read(origin).as_deref(), Ok(origin), "it is read back");
        }
    }

    #[test]
    fn what_is_no_origin_is_told_apart() {
        for (text, hint) in [
            ("example.org", "write SCHEME://HOST"),
            ("*", "write SCHEME://HOST"),
            ("https://", "write SCHEME://HOST"),
            ("://example.org", "write SCHEME://HOST"),
            ("*://example.org", "write SCHEME://HOST"),
            ("1s://example.org", "write SCHEME://HOST"),
            ("https://a b", "write SCHEME://HOST"),
            ("https://user@example.org", "write SCHEME://HOST"),
            ("https://[::*]", "write SCHEME://HOST"),
            ("https://::1", "write SCHEME://HOST"),
            ("https://:80", "write SCHEME://HOST"),
            ("https://example.org/", "leave out \"/\""),
            ("https://example.org:80/chat?x", "leave out \"/chat?x\""),
            ("https://example.org?x", "leave out \"?x\""),
            ("wss://example.org", "that of the page"),
            ("https://bücher.example", "xn--"),
            ("https://example.org:", "not a port"),
            ("https://example.org:0", "not a port"),
            ("https://example.org:080", "not a port"),
            ("https://example.org:65536", "not a port"),
            ("https://example.org:8*", "not a port"),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.contains(hint), "{text}: {message}");
        }
        assert!(read(&format!("https://{}", "a".repeat(254))).is_err());
    }

    #[test]
    fn patterns_that_mean_strangers_too_are_noticed() {
        for wide in ["https://example.*", "https://*example.org", "http://localhost*:80", "https://**"] {
            assert!(is_too_wide(wide), "{wide}");
        }
        for narrow in ["https://*.example.org", "https://app-*.example.org", "http://localhost:*", "https://*", "null"]
        {
            assert!(!is_too_wide(narrow), "{narrow}");
        }
    }
}
