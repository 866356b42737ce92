//! What handshakes agree on.

use alloc::sync::Arc;

use rustls::Error::{AlertReceived, InvalidCertificate};
use rustls::{AlertDescription, ClientConfig, RootCertStore};

use super::peer::*;
use crate::error::Cause;
use crate::time::{Duration, Instant};
use crate::tls::{ClientAuth, Connection, Entry, Version, library};

#[test]
fn both_versions_and_all_kinds_of_keys_work() {
    for algorithm in [&rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384] {
        check_key(self_signed(algorithm, &["a.test"]));
    }
}

#[test]
fn keys_are_taken_in_their_older_forms() {
    check_key(older_form(self_signed(&rcgen::PKCS_ECDSA_P256_SHA256, &["a.test"]), "EC PRIVATE KEY"));
    let rsa = self_signed(&rcgen::PKCS_RSA_SHA256, &["a.test"]);
    check_key(rsa.clone());
    check_key(older_form(rsa, "RSA PRIVATE KEY"));
}

fn check_key(certified: Certified) {
    let certificates = store(&[entry(&["a.test"], &certified)]);
    for (versions, version) in [(TLS13, Version::Tls13), (TLS12, Version::Tls12)] {
        let mut pair = handshake(&certificates, trusting(&[&certified], versions), "a.test");
        let facts = pair.facts();
        assert_eq!((facts.entry, facts.version, facts.is_resumed), (0, version, false));
        assert_eq!((facts.server_name.as_deref(), &facts.protocol, &facts.client), (Some("a.test"), &None, &None));
        assert!(facts.cipher.starts_with("TLS_") && facts.cipher.contains("_AES_128_GCM_"), "{}", facts.cipher);
        pair.client_sends(b"question");
        assert_eq!(pair.received, b"question");
        pair.server.send_plain(b"answer").unwrap();
        pair.run();
        assert_eq!(pair.client_received, b"answer");
    }
}

/// The key within a PKCS#8 container, by itself.
fn older_form(certified: Certified, label: &str) -> Certified {
    use rcgen::KeyPair;
    let der = KeyPair::from_pem(&certified.key).unwrap().serialize_der();
    // SEQUENCE { INTEGER 0, SEQUENCE algorithm, OCTET STRING key }
    let (_, container) = element(&der);
    let (version, _) = element(container);
    let (algorithm, _) = element(&container[version..]);
    let (_, inner) = element(&container[version + algorithm..]);
    let body = base64(inner);
    Certified { key: format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n"), ..certified }
}

/// The length of the DER element at the front, and its content.
fn element(der: &[u8]) -> (usize, &[u8]) {
    let (header, len) = match der[1] {
        len @ 0..0x80 => (2, usize::from(len)),
        more => {
            let bytes = &der[2..2 + usize::from(more & 0x7f)];
            (2 + bytes.len(), bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)))
        }
    };
    (header + len, &der[header..header + len])
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().chain(&[0, 0]).take(3).fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        for at in 0..4 {
            let digit = char::from(DIGITS[bits >> (18 - 6 * at) & 63]);
            text.push(if at > three.len() { '=' } else { digit });
        }
    }
    text
}

#[test]
fn the_name_chooses_the_certificate() {
    let (exact, wild, default) = (ed25519(&["www.b.test"]), ed25519(&["*.b.test"]), ed25519(&["c.test", "b.test"]));
    let entries = [entry(&["WWW.b.test."], &exact), entry(&["*.b.test"], &wild), entry(&["c.test", "*"], &default)];
    let certificates = store(&entries);
    for (name, place, shown) in [
        ("www.b.test", 0, &exact),
        ("WwW.B.tEsT", 0, &exact),
        ("other.b.test", 1, &wild),
        ("c.test", 2, &default),
        ("b.test", 2, &default),
    ] {
        let pair = handshake(&certificates, trusting(&[shown], TLS13), name);
        assert_eq!(pair.facts().entry, place, "{name}");
        assert_eq!(pair.facts().server_name, Some(name.to_ascii_lowercase()));
        assert_eq!(pair.client.peer_certificates().unwrap()[0], shown.der(), "{name}");
    }
    assert_eq!(certificates.find(Some("a.b.b.test")), Some(2), "a wildcard is one label");
    assert_eq!(certificates.find(None), Some(2));
}

#[test]
fn a_client_that_asks_for_no_name_gets_the_default() {
    let certified = ed25519(&["127.0.0.1"]);
    let certificates = store(&[entry(&["127.0.0.1", "*"], &certified)]);
    let pair = handshake(&certificates, trusting(&[&certified], TLS13), "127.0.0.1");
    assert_eq!(pair.facts().server_name, None);
}

#[test]
fn without_a_default_unknown_names_are_refused() {
    let (certificates, client) = simple();
    for name in ["b.test", "x.a.test", "127.0.0.1"] {
        let mut pair = Pair::new(&certificates, client.clone(), name);
        pair.run();
        pair.assert_refused(Cause::TlsNameUnknown);
        assert_eq!(pair.server.violation().map(|violation| violation.status), Some(421));
        assert_eq!(pair.client_error, Some(AlertReceived(AlertDescription::UnrecognisedName)), "{name}");
    }
}

#[test]
fn protocols_are_chosen_by_entry_and_the_servers_taste() {
    let certified = ed25519(&["a.test", "b.test"]);
    let with = |name, protocols: &[&str]| Entry {
        protocols: protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect(),
        ..entry(&[name], &certified)
    };
    let certificates = store(&[with("a.test", &["h2", "http/1.1"]), with("b.test", &["http/1.1"])]);
    let client = |protocols: &[&str]| {
        let mut config = trusting(&[&certified], TLS13);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config
    };
    let both = handshake(&certificates, client(&["http/1.1", "h2"]), "a.test");
    assert_eq!(both.facts().protocol.as_deref(), Some(&b"h2"[..]));
    assert_eq!(both.client.alpn_protocol(), Some(&b"h2"[..]));
    let one = handshake(&certificates, client(&["http/1.1", "h2"]), "b.test");
    assert_eq!(one.facts().protocol.as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(handshake(&certificates, client(&[]), "a.test").facts().protocol, None);

    let mut neither = Pair::new(&certificates, client(&["spdy/3.1"]), "a.test");
    neither.run();
    neither.assert_refused(Cause::TlsNegotiation);
    assert_eq!(neither.client_error, Some(AlertReceived(AlertDescription::NoApplicationProtocol)));
}

#[test]
fn a_client_shows_the_certificate_that_it_is_asked_for() {
    let (server, friends) = (ed25519(&["a.test", "b.test", "c.test"]), Authority::new("Friends"));
    let ca = friends.pem.clone().into_bytes();
    let certificates = store(&[
        Entry { client_auth: ClientAuth::Required { ca: ca.clone() }, ..entry(&["a.test"], &server) },
        Entry { client_auth: ClientAuth::Optional { ca }, ..entry(&["b.test"], &server) },
        entry(&["c.test"], &server),
    ]);
    let ann = friends.certify(|_| {});
    for versions in [TLS13, TLS12] {
        for name in ["a.test", "b.test"] {
            let pair = handshake(&certificates, client_config(&[&server], versions, Some(&ann)), name);
            let shown = pair.facts().client.clone().unwrap();
            assert_eq!(shown.subject, "O=Fish\\, Chips & Co,CN=ann");
            assert_eq!(shown.issuer, "CN=Friends");
            assert_eq!(shown.serial, "ABCDEF");
            assert_eq!(shown.fingerprint_hex().len(), 64);
        }
        let unasked = handshake(&certificates, client_config(&[&server], versions, Some(&ann)), "c.test");
        assert_eq!(unasked.facts().client, None);
        let without = handshake(&certificates, trusting(&[&server], versions), "b.test");
        assert_eq!(without.facts().client, None);

        let mut missing = Pair::new(&certificates, trusting(&[&server], versions), "a.test");
        missing.run();
        missing.assert_refused(Cause::TlsCertificateMissing);
        assert!(matches!(missing.client_error, Some(AlertReceived(_))), "{:?}", missing.client_error);
    }
}

#[test]
fn a_client_with_a_certificate_of_nobody_known_is_refused() {
    let (server, friends) = (ed25519(&["a.test", "b.test"]), Authority::new("Friends"));
    let ca = friends.pem.clone().into_bytes();
    let certificates = store(&[
        Entry { client_auth: ClientAuth::Required { ca: ca.clone() }, ..entry(&["a.test"], &server) },
        Entry { client_auth: ClientAuth::Optional { ca }, ..entry(&["b.test"], &server) },
    ]);
    let strangers = Authority::new("Strangers");
    let expired = friends.certify(|params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    for (own, alert) in
        [(strangers.certify(|_| {}), AlertDescription::UnknownCA), (expired, AlertDescription::CertificateExpired)]
    {
        for name in ["a.test", "b.test"] {
            let mut pair = Pair::new(&certificates, showing(&[&server], &own), name);
            pair.run();
            pair.assert_refused(Cause::TlsCertificateRefused);
            assert!(pair.server.violation().is_some());
            assert_eq!(pair.client_error, Some(AlertReceived(alert)));
        }
    }
}

#[test]
fn a_client_that_does_not_trust_the_certificate_says_so() {
    let (certificates, _) = simple();
    let other = Certified { chain: Authority::new("Somebody").pem, key: String::new() };
    let mut pair = Pair::new(&certificates, trusting(&[&other], TLS13), "a.test");
    pair.run();
    assert!(matches!(pair.client_error, Some(InvalidCertificate(_))), "{:?}", pair.client_error);
    let alert = pair.client_bytes();
    pair.give(&alert);
    pair.assert_refused(Cause::TlsAlert);
    assert_eq!(pair.server.violation(), None, "it is our certificate");
    assert!(pair.server.outbound().is_empty());
    assert!(pair.server.failure().is_some_and(|words| words.contains("UnknownCA")), "{:?}", pair.server.failure());
}

#[test]
fn a_client_that_takes_no_key_of_ours_is_told() {
    let certified = ed25519(&["a.test"]);
    let certificates = store(&[entry(&["a.test"], &certified)]);
    for (versions, suite) in [(TLS12, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"), (TLS13, "TLS13_AES_128_GCM_SHA256")] {
        let mut provider = library::provider().as_ref().clone();
        provider.cipher_suites.retain(|offered| offered.suite().as_str() == Some(suite));
        let verifying = &mut provider.signature_verification_algorithms;
        verifying.mapping = &verifying.mapping[..1];
        let client = ClientConfig::builder_with_details(Arc::new(provider), Arc::new(clock()));
        let client = client.with_protocol_versions(versions).unwrap();
        let client = client.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        let mut pair = Pair::new(&certificates, client, "a.test");
        pair.run();
        pair.assert_refused(Cause::TlsNegotiation);
        assert_eq!(pair.client_error, Some(AlertReceived(AlertDescription::HandshakeFailure)), "{suite}");
    }
}

#[test]
fn a_stapled_answer_reaches_the_client() {
    let certified = ed25519(&["a.test"]);
    let answer = [0x30, 0x03, 0x0a, 0x01, 0x00];
    let certificates = store(&[Entry { ocsp: Some(answer.to_vec()), ..entry(&["a.test"], &certified) }]);
    let mut plain = Pair::new(&certificates, trusting(&[&certified], TLS12), "a.test");
    let hello = plain.client_bytes();
    plain.give(&hello);
    let flight = plain.server.outbound().take();
    assert!(flight.windows(answer.len()).any(|window| window == answer), "TLS 1.2 shows it in the clear");
}

#[test]
fn a_handshake_that_is_late_is_given_up() {
    let (certificates, client) = simple();
    let deadline = Instant::ZERO + Duration::from_secs(10);
    for sent in [0, 1, 100, usize::MAX] {
        let mut pair = Pair::new(&certificates, client.clone(), "a.test");
        let hello = pair.client_bytes();
        pair.give(&hello[..sent.min(hello.len())]);
        assert_eq!(pair.server.poll_timeout(), Some(deadline));
        pair.server.handle_timeout(Instant::from_millis(9_999));
        assert_eq!(pair.server.is_closing(), None);
        pair.server.handle_timeout(deadline);
        pair.assert_refused(Cause::HandshakeTimeout);
        pair.give(&hello);
        assert_eq!(pair.events, []);
    }
}

#[test]
fn a_handshake_in_time_has_no_deadline_any_more() {
    let (certificates, client) = simple();
    let mut pair = Pair::established(&certificates, client);
    assert_eq!(pair.server.poll_timeout(), None);
    pair.server.handle_timeout(Instant::from_millis(1_000_000));
    assert!(pair.server.is_established());
}

#[test]
fn a_connection_is_small_and_owns_nothing_before_a_byte_came() {
    assert!(size_of::<Connection>() <= 256, "{}", size_of::<Connection>());
}
