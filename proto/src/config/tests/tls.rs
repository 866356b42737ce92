//! What can be set for TLS.

use super::*;

/// A file with a TLS listener for all and a certificate for all, but for the given lines.
fn served(global: &str, host: &str) -> String {
    around(&format!("bind-ssl = *:443\ncertificate = all.pem\nkey = all.key\n{global}"), host)
}

#[test]
fn every_key_of_tls_is_read() {
    let config = parsed(
        "[blastbeat]\n\
         bind-ssl = *:443 proxy 3\n\
         certificate = /etc/all chain.pem\nkey = all.key\n\
         sni-strict = on\ntls-tickets = off\ntls-sessions = 7\n\
         [blastbeat:a]\nnode = app:welcome\n\
         certificate = a.pem\nkey = a.key\nocsp = a.der\nclient-ca = ca.pem\n\
         https-redirect = on\nhsts = 31536000 includesubdomains preload\n\
         [blastbeat:b]\nnode = app:welcome\nbind-ssl = 127.0.0.1:8443\nbind-ssl = [::1]:8443\n\
         client-ca = ca.pem\nclient-auth = optional\nhttps-redirect = 301\nhsts = 0\n\
         [blastbeat:c]\nnode = app:welcome\nclient-ca = ca.pem\nclient-auth = off\nhttps-redirect = off\nhsts = off\n",
    );
    let listener = |address: &str, proxy, hosts: &[usize], priority| Listener {
        address: tcp(address),
        serves: Serves::Http { proxy, tls: true, http2: true, spdy: Spdy::NONE },
        hosts: hosts.into(),
        priority,
    };
    let expected = [
        listener("0.0.0.0:443", true, &[], 3),
        listener("127.0.0.1:8443", false, &[1], 1),
        listener("[::1]:8443", false, &[1], 1),
    ];
    assert_eq!(config.listeners, expected);
    let identity = |certificate: &str, key: &str| Identity { certificate: File::new(certificate), key: File::new(key) };
    assert_eq!(config.identity, Some(identity("/etc/all chain.pem", "all.key")));
    assert_eq!((config.sni_strict, config.tls_tickets, config.tls_sessions), (true, false, 7));

    let [a, b, c] = &config.hosts[..] else { panic!("{:?}", config.hosts) };
    assert_eq!(a.identity, Some(identity("a.pem", "a.key")));
    assert_eq!((a.ocsp.clone(), a.client_ca.clone()), (Some(File::new("a.der")), Some(File::new("ca.pem"))));
    assert_eq!(a.client_auth, ClientAuth::Required, "without a word, since there is who vouches for them");
    assert_eq!(a.hsts.map(|hsts| hsts.field_value()).as_deref(), Some("max-age=31536000; includeSubDomains; preload"));
    assert_eq!(b.hsts.map(|hsts| hsts.field_value()).as_deref(), Some("max-age=0"));
    assert_eq!((a.https_redirect, b.https_redirect, c.https_redirect), (Some(308), Some(301), None));
    assert_eq!((b.client_auth, c.client_auth, c.hsts), (ClientAuth::Optional, ClientAuth::Off, None));
    assert_eq!((config.identity_of(0), config.identity_of(1)), (a.identity.as_ref(), config.identity.as_ref()));
    assert_round_trip(&config);
}

#[test]
fn the_original_files_with_tls_are_read() {
    let config = parsed(
        "[blastbeat]\nbind = *:80\nbind-ssl = 192.168.173.5:443\nzmq = tcp://127.0.0.1:5000\n\
         [blastbeat:secure.local]\ncertificate = /etc/foo.crt\nkey = /etc/foo.key\nnode = a\nbind-ssl = 0.0.0.0:4343\n\
         [blastbeat:open.local]\nnode = b\ncertificate = b.crt\nkey = b.key\n",
    );
    let reached: Vec<_> = config.listeners.iter().map(|listener| config.reached_by(listener)).collect();
    assert_eq!(reached, [vec![1], vec![1], vec![0, 1], vec![0]], "bind, bind-ssl, zmq, and the first host's own");
    assert_eq!((config.https_listener(0), config.https_listener(1)), (Some(3), Some(1)));
    assert_round_trip(&config);
}

#[test]
fn redirects_prefer_the_usual_port() {
    let config = parsed(&served("bind-ssl = *:8443\nbind-ssl = [::]:443", ""));
    let port = |number: usize| config.listeners[number].endpoint();
    assert_eq!(config.https_listener(0).map(port).as_deref(), Some("0.0.0.0:443"));
    let config = parsed(
        "[blastbeat]\nbind-ssl = *:81\nbind = *:80\ncertificate = c\nkey = k\n[blastbeat:a]\nnode = app:welcome\n",
    );
    assert_eq!(config.https_listener(0), Some(0));
    assert_eq!(parsed(&around("", "")).https_listener(0), None);
}

#[test]
fn bad_values_of_tls_say_what_would_be_right() {
    for (line, message) in [
        ("bind-ssl = *:81 fast", "\"fast\" is not an option; write a priority, proxy, http1, or spdy=VERSIONS"),
        ("certificate =", "the value is missing; write it behind an equals sign"),
        ("sni-strict = yes", "\"yes\" is not a choice here; write on or off"),
        ("tls-sessions = 2000000", "2000000 is too large; write at most 1048576"),
        ("client-ca = ca.pem", "belongs to a virtual host; move it to a section [blastbeat:HOST]"),
    ] {
        let key = line.split(" =").next().unwrap();
        assert_problem(&around(line, ""), &format!("test.ini:2: {key}: {message}"));
    }
    for (line, message) in [
        ("client-auth = yes", "\"yes\" is not a choice here; write off or optional or required"),
        ("https-redirect = 303", "\"303\" is not a choice here; write on or off or 301 or 302 or 307 or 308"),
        ("hsts = on", "\"on\" is not a whole number; write digits, such as 10"),
        ("hsts = 1 subdomains", "\"subdomains\" is not an option; write includeSubDomains, or preload"),
        ("tls-tickets = on", "holds for the whole server; move it to [blastbeat]"),
        ("certifcate = a.pem", "there is no such key; did you mean certificate?"),
    ] {
        let key = line.split(" =").next().unwrap();
        assert_problem(&around("", line), &format!("test.ini:6: {key}: {message}"));
    }
}

#[test]
fn a_certificate_and_its_key_belong_together() {
    for (line, message) in [
        ("certificate = a.pem", "certificate: has no key beside it; write key = PATH in the same section"),
        ("key = a.key", "key: has no certificate beside it; write certificate = PATH in the same section"),
    ] {
        assert_problem(&served("", line), &format!("test.ini:9: {message}"));
        assert_problem(&around(line, "certificate = b.pem\nkey = b.key"), &format!("test.ini:2: {message}"));
    }
}

#[test]
fn whoever_is_reached_by_tls_has_a_certificate() {
    let text = "[blastbeat]\nbind = *:80\nbind-ssl = *:443\n\
                [blastbeat:a]\nnode = app:welcome\n\
                [blastbeat:b]\nnode = app:welcome\nbind = *:80\n\
                [blastbeat:c]\nnode = app:welcome\nbind-ssl = *:444\n";
    assert_problem(
        text,
        "test.ini:4: [blastbeat:a]: is reached by TLS (line 3) and has no certificate; write certificate = PATH and \
         key = PATH, here or in [blastbeat]\n\
         test.ini:9: [blastbeat:c]: is reached by TLS (line 11) and has no certificate; write certificate = PATH and \
         key = PATH, here or in [blastbeat]",
    );
    let (config, _) = Config::parse_uncertified(text.as_bytes(), "test.ini", Mode::Strict).expect("they follow");
    assert_eq!((config.identity_of(0), config.listeners.len()), (None, 3));
    assert_problem(
        &around("bind-ssl = 443", ""),
        &problems(&around("bind-ssl = 443", "hsts = 1")).trim_end().replace("hsts", ""),
    );
}

#[test]
fn what_only_tls_can_give_is_missed_without_it() {
    let no_way = "no bind-ssl leads to this host; write one, such as bind-ssl = *:443";
    for line in ["client-ca = ca.pem", "https-redirect = on", "hsts = 60"] {
        let key = line.split(" =").next().unwrap();
        assert_problem(&around("", line), &format!("test.ini:6: {key}: cannot be had: {no_way}"));
    }
    assert_problem(
        &served("", "client-auth = optional"),
        "test.ini:9: client-auth: nobody vouches for the certificates; write client-ca = PATH",
    );
    let proxied = parsed(&around("trusted-proxy = 10.0.0.1", "https-redirect = on\nhsts = 60"));
    assert_eq!(proxied.hosts[0].https_redirect, Some(308), "somebody in front may speak TLS");
}

#[test]
fn a_certificate_for_nothing_is_warned_of() {
    let nowhere = "has no effect, since no bind-ssl leads there; write one, such as bind-ssl = *:443";
    assert_eq!(
        parsed(&around("", "certificate = a.pem\nkey = a.key\nocsp = a.der")).warnings(),
        [format!("certificate = a.pem of a.example {nowhere}"), format!("ocsp = a.der of a.example {nowhere}")]
    );
    assert_eq!(
        parsed(&around("certificate = a.pem\nkey = a.key", "")).warnings(),
        [format!("certificate = a.pem {nowhere}")]
    );
}

#[test]
fn an_address_is_for_tls_or_for_clear_text() {
    assert_problem(
        &served("bind = *:443", ""),
        "test.ini:5: bind: 0.0.0.0:443 is served by TLS by line 2; write another port",
    );
    assert_problem(
        &around("", "bind-ssl = *:80\ncertificate = a\nkey = b"),
        "test.ini:6: bind-ssl: 0.0.0.0:80 is served in clear text by line 3; write another port",
    );
    assert_problem(
        &served("bind-ssl = 127.0.0.1:443", ""),
        "test.ini:5: bind-ssl: 0.0.0.0:443 covers 127.0.0.1:443 too, see line 2; write another port",
    );
}

#[test]
fn a_way_around_client_certificates_is_warned_of() {
    let warned = |global: &str, host: &str| parsed(&served(global, host)).warnings();
    assert_eq!(
        warned("", "client-ca = ca.pem"),
        ["a.example asks for certificates, but by bind = 0.0.0.0:80 anybody reaches it without one; \
          add https-redirect = on, or give it a bind-ssl of its own"]
    );
    assert!(warned("", "client-ca = ca.pem\nhttps-redirect = on").is_empty());
    assert!(warned("", "client-ca = ca.pem\nbind-ssl = *:444").is_empty());
    assert!(warned("", "client-ca = ca.pem\nclient-auth = optional").is_empty());
}

#[test]
fn a_promise_that_browsers_do_not_list_is_warned_of() {
    let warned = |line: &str| parsed(&served("", line)).warnings().len();
    assert_eq!(warned("hsts = 60 includeSubDomains preload"), 1);
    assert_eq!(warned("hsts = 31536000 preload"), 1);
    assert_eq!(warned("hsts = 31536000 includeSubDomains preload"), 0);
    assert_eq!(warned("hsts = 60"), 0);
}

#[test]
fn every_file_is_found_with_its_line() {
    let text = "[blastbeat]\nbind-ssl = *:443\nbind = *:80\nerror-page = 503 busy.html\ncertificate = old\n\
                certificate = all.pem\nkey = all.key\n\
                [blastbeat:a]\nnode = app:welcome\n\
                [blastbeat:b]\nnode = app:welcome\ncertificate = b.pem\n\
                [blastbeat:B]\nkey = b.key\nocsp = b.der\nclient-ca = ca.pem\nhttps-redirect = on\n";
    let mut config = parsed(text);
    let named = config.clone();
    let found: Vec<_> = config
        .files_mut()
        .map(|(usage, file)| {
            assert_eq!(named.file(usage), Some(&*file));
            format!("{} {} {}", usage.line(&named, text.as_bytes()), usage.key(), file.path.display())
        })
        .collect();
    let expected = [
        "4 error-page busy.html",
        "6 certificate all.pem",
        "7 key all.key",
        "12 certificate b.pem",
        "14 key b.key",
        "15 ocsp b.der",
        "16 client-ca ca.pem",
    ];
    assert_eq!(found, expected);
    assert_eq!((named.line_of_host(0, text.as_bytes()), named.line_of_host(1, text.as_bytes())), (8, 10));
    assert_eq!(FileUse::Key(Some(0)).line(&named, text.as_bytes()), 0);
}

#[test]
fn nobody_is_shown_a_key() {
    let mut config = parsed(&served("", "certificate = a.pem\nkey = a.key"));
    config.files_mut().for_each(|(_, file)| file.body = "secret".into());
    assert!(!format!("{config:?}").contains("secret"));
    let redacted = config.redacted();
    assert_eq!(redacted.file(FileUse::Key(None)).map(|file| &file.body[..]), Some(&b""[..]));
    assert_eq!(redacted.file(FileUse::Key(Some(0))).map(|file| &file.body[..]), Some(&b""[..]));
    assert_eq!(redacted.file(FileUse::Certificate(None)).map(|file| &file.body[..]), Some(&b"secret"[..]));
}

#[test]
fn a_listener_that_is_added_stands_where_the_file_would_have_it() {
    let mut config = parsed(
        "[blastbeat]\nbind = *:80\ncertificate = c\nkey = k\n[blastbeat:a]\nnode = app:welcome\nbind-ssl = *:444\n[blastbeat:b]\nnode = app:welcome\n",
    );
    let serves = Serves::Http { proxy: false, tls: true, http2: true, spdy: Spdy::NONE };
    config.add_listener(Listener { address: tcp("127.0.0.1:8443"), serves, hosts: vec![], priority: 1 });
    assert_eq!(config.listeners[1].endpoint(), "127.0.0.1:8443");
    assert_round_trip(&config);
}
