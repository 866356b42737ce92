//! What a virtual host wants of TLS.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::browser::{Browser, Person, Site, TLS12, TLS13};
use super::*;

/// Listener 0 is of TLS, listener 1 of nodes, listener 2 in clear text. The host `b.test` asks for certificates.
const HOSTS: &str = "[blastbeat]\nbind-ssl = 127.0.0.1:8443\nzmq = tcp://127.0.0.1:5000\nbind = 127.0.0.1:80 h2c\n\
    trusted-proxy = 192.0.2.0/24\n\n\
    [blastbeat:a.test]\nalias = *.a.test\nnode = one\nnode = two\ncertificate = a.pem\nkey = a.key\nhttps-redirect = on\n\
    hsts = 300 includeSubDomains\n\n\
    [blastbeat:b.test]\nnode = one\nnode = two\ncertificate = b.pem\nkey = b.key\nclient-ca = ca.pem\nclient-auth = optional\n";

/// A request as HTTP/2 has it, behind the beginning of a connection: all names from the static table, all values in
/// clear (RFC 7541, 6.2.3).
pub(super) fn http2_request(host: &str) -> Vec<u8> {
    let mut head = b"\x82\x84\x87".to_vec();
    head.extend([0x11, host.len() as u8]);
    head.extend(host.as_bytes());
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    bytes.extend([0, 0, head.len() as u8, 1, 5, 0, 0, 0, 1]);
    bytes.extend(head);
    bytes
}

impl Site {
    fn https(&mut self, person: Option<&Person>, name: &str, protocol: &str) -> Browser {
        let link = self.world.accept(0);
        let mut browser = self.browser_of(person, link, TLS13, name, &[protocol]);
        browser.run(&mut self.world);
        assert_eq!(browser.error, None);
        browser
    }

    /// The status and cause of the last request.
    fn last_access(&self) -> (u16, Cause) {
        let access = self.world.reports.iter().rev().find_map(|report| {
            let Report::Access(access) = report else { return None };
            Some(access)
        });
        access.map(|access| (access.status, access.cause)).unwrap()
    }
}

#[test]
fn requests_in_clear_text_are_sent_to_the_port_of_tls() {
    let mut site = Site::new(HOSTS);
    for (request, location) in [
        ("GET /x?y=1 HTTP/1.1\r\nHost: a.test\r\n\r\n", "https://a.test:8443/x?y=1"),
        ("GET / HTTP/1.1\r\nHost: www.A.test:80\r\n\r\n", "https://www.A.test:8443/"),
        ("GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n", "https://a.test:8443/x"),
        ("OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n", "https://a.test:8443"),
    ] {
        let client = site.world.accept(2);
        for _ in 0..2 {
            site.world.receive(client, request.as_bytes());
            let answer = site.world.read(client);
            assert!(answer.starts_with("HTTP/1.1 308 Permanent Redirect\r\n"), "{answer}");
            assert!(answer.contains(&format!("\r\nLocation: {location}\r\n")), "{answer}");
            assert!(!answer.contains("Strict-Transport-Security"), "never in clear text: {answer}");
        }
    }
    assert_eq!(site.last_access(), (308, Cause::HttpsNeeded));
    assert_eq!(site.world.engine.stats().of(Cause::HttpsNeeded), 8);
}

#[test]
fn http2_in_clear_text_is_sent_there_too() {
    let mut site = Site::new(HOSTS);
    let client = site.world.accept(2);
    site.world.receive(client, &http2_request("a.test"));
    assert_eq!(site.last_access(), (308, Cause::HttpsNeeded));
}

#[test]
fn who_came_to_a_trusted_proxy_by_tls_is_served() {
    let mut site = Site::new(HOSTS);
    let peer = PeerAddr::Ip(SocketAddr::from(([192, 0, 2, 1], 40_000)));
    let client = site.world.engine.accept(ListenerId(2), peer, site.world.now).unwrap();
    let request = |proto| format!("GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Proto: {proto}\r\n\r\n");
    site.world.receive(client, request("https").as_bytes());
    let answer = site.world.read(client);
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("Strict-Transport-Security"), "{answer}");
    site.world.receive(client, request("http").as_bytes());
    assert!(site.world.read(client).starts_with("HTTP/1.1 308 "));
}

#[test]
fn browsers_are_told_to_come_by_tls() {
    const TOLD: &str = "\r\nStrict-Transport-Security: max-age=300; includeSubDomains\r\n";
    let mut site = Site::new(HOSTS);
    let mut node = Node::connect(&mut site.world, "one");
    let mut browser = site.https(None, "a.test", "http/1.1");
    let get = |host| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    browser.send(&mut site.world, get("a.test").as_bytes());
    let sid = node.request(&mut site.world);
    node.send(&mut site.world, &sid, "body", b"HTTP/1.1 204 No Content\r\n\r\n");
    let answer = browser.text(&mut site.world);
    assert_eq!(answer, format!("HTTP/1.1 204 No Content{TOLD}\r\n"));
    for (request, expected) in [
        ("POST / HTTP/1.1\r\nHost: a.test\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nHost: b.test\r\nUpgrade: websocket\r\n\r\n", false),
    ] {
        browser.send(&mut site.world, request.as_bytes());
        let page = browser.text(&mut site.world);
        assert_eq!(page.contains(TOLD), expected, "{page}");
    }
    let upgrade = "GET / HTTP/1.1\r\nHost: a.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    browser.send(&mut site.world, upgrade.as_bytes());
    let answer = browser.text(&mut site.world);
    assert!(answer.starts_with("HTTP/1.1 101 ") && answer.contains(TOLD), "{answer}");
}

#[test]
fn a_host_that_is_not_here_may_be_elsewhere() {
    let mut site = Site::new(HOSTS);
    let get = "GET / HTTP/1.1\r\nHost: c.test\r\n\r\n";
    let client = site.world.accept(2);
    site.world.receive(client, get.as_bytes());
    assert!(site.world.read(client).starts_with("HTTP/1.1 404 "));
    let client = site.world.accept(2);
    site.world.receive(client, &http2_request("c.test"));
    assert_eq!(site.last_access(), (421, Cause::HostUnknown));
    let mut browser = site.https(None, "a.test", "http/1.1");
    browser.send(&mut site.world, get.as_bytes());
    assert!(browser.text(&mut site.world).starts_with("HTTP/1.1 421 Misdirected Request\r\n"));
    let mut browser = site.https(None, "a.test", "h2");
    browser.send(&mut site.world, &http2_request("c.test"));
    assert_eq!(site.last_access(), (421, Cause::HostUnknown));
    assert_eq!(site.world.engine.stats().of(Cause::HostUnknown), 4);
}

#[test]
fn a_host_that_asks_for_certificates_is_met_by_its_own_handshake_alone() {
    for (shows, name, host, expected) in [
        (false, "a.test", "b.test", (421, Cause::HostMisdirected)),
        (true, "a.test", "b.test", (421, Cause::HostMisdirected)),
        (false, "b.test", "b.test", (503, Cause::NodeMissing)),
        (true, "b.test", "b.test", (503, Cause::NodeMissing)),
        (true, "b.test", "a.test", (503, Cause::NodeMissing)),
        (false, "a.test", "www.a.test", (503, Cause::NodeMissing)),
    ] {
        for protocol in ["http/1.1", "h2"] {
            let mut site = Site::new(HOSTS);
            let ann = Person::new("nobody");
            let ann = if shows { core::mem::replace(&mut site.ann, ann) } else { ann };
            let mut browser = site.https(shows.then_some(&ann), name, protocol);
            let request = match protocol {
                "h2" => http2_request(host),
                _ => format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes(),
            };
            browser.send(&mut site.world, &request);
            assert_eq!(site.last_access(), expected, "{shows} {name} {host} {protocol}");
        }
    }
}

#[test]
fn the_handshake_of_tls_1_2_is_told_apart_as_well() {
    let mut site = Site::new(HOSTS);
    let mut browser = site.browser(TLS12);
    browser.run(&mut site.world);
    browser.send(&mut site.world, b"GET / HTTP/1.1\r\nHost: b.test\r\n\r\n");
    assert!(browser.text(&mut site.world).starts_with("HTTP/1.1 421 "));
}

/// The variables of TLS in a request as a node gets it.
fn variables(packet: &[u8]) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let pairs = crate::uwsgi::pairs(packet).map(|pair| pair.map(|(name, value)| (text(name), text(value))).unwrap());
    pairs.filter(|(name, _)| name.starts_with("SSL_") || name.starts_with("HTTPS") || name == "HTTP2").collect()
}

#[test]
fn a_node_learns_of_the_clients_certificate() {
    for (shows, name, host, protocol) in [
        (true, "b.test", "b.test", "http/1.1"),
        (true, "b.test", "b.test", "h2"),
        (false, "b.test", "b.test", "http/1.1"),
        (false, "a.test", "a.test", "http/1.1"),
        (true, "b.test", "a.test", "http/1.1"),
    ] {
        let mut site = Site::new(HOSTS);
        let mut one = Node::connect(&mut site.world, "one");
        let ann = core::mem::replace(&mut site.ann, Person::new("nobody"));
        let mut browser = site.https(shows.then_some(&ann), name, protocol);
        match protocol {
            "h2" => browser.send(&mut site.world, &http2_request(host)),
            _ => browser.send(&mut site.world, format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()),
        }
        let [(_, _, packet)] = &one.receive(&mut site.world)[..] else { panic!("a request") };
        let mut expected = vec![("HTTPS", "on")];
        if protocol == "h2" {
            expected.push(("HTTP2", "on"));
        }
        let cipher =
            browser.client.negotiated_cipher_suite().unwrap().suite().as_str().unwrap().replace("TLS13", "TLS");
        expected.extend([("SSL_PROTOCOL", "TLSv1.3"), ("SSL_CIPHER", &cipher)]);
        let der = CertificateDer::from_pem_slice(ann.certificate.as_bytes()).unwrap();
        let fingerprint: String = crate::tls::fingerprint(&der).iter().map(|byte| format!("{byte:02x}")).collect();
        match (shows, host) {
            (true, "b.test") => expected.extend([
                ("SSL_CLIENT_VERIFY", "SUCCESS"),
                ("SSL_CLIENT_S_DN", "CN=Ann"),
                ("SSL_CLIENT_I_DN", "CN=Ann"),
                ("SSL_CLIENT_SERIAL", "0ABC"),
                ("SSL_CLIENT_FINGERPRINT", &fingerprint),
            ]),
            (false, "b.test") => expected.push(("SSL_CLIENT_VERIFY", "NONE")),
            _ => {}
        }
        let expected: Vec<_> = expected.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        assert_eq!(variables(packet), expected, "{shows} {host} {protocol}");
        // Whoever gets the request next is told the same.
        let mut two = Node::connect(&mut site.world, "two");
        site.world.eof(one.link);
        let [(_, kind, packet)] = &two.receive(&mut site.world)[..] else { panic!("the request") };
        assert_eq!((kind.as_str(), variables(packet)), ("uwsgi", expected));
    }
}
