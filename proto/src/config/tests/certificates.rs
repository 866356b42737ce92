//! From files to stores.

use rcgen::{CertificateParams, KeyPair};

use super::*;
use crate::tls::{self, Certificates, WallClock};

/// Each host has a name, listens on ports of its own, and has further lines.
fn site(global: &str, hosts: &[(&str, &str)]) -> Config {
    let hosts: String =
        hosts.iter().map(|(name, lines)| format!("[blastbeat:{name}]\nnode = app:welcome\n{lines}\n")).collect();
    let mut config =
        parsed(&format!("[blastbeat]\nbind = *:80\nbind-ssl = *:443\ncertificate = c\nkey = k\n{global}\n{hosts}"));
    fill(&mut config);
    config
}

/// Gives each certificate its content, and each key.
fn fill(config: &mut Config) {
    let places: Vec<_> = core::iter::once(None).chain((0..config.hosts.len()).map(Some)).collect();
    for place in places {
        let (certificate, key) = certified();
        for (usage, file) in config.files_mut() {
            if usage == FileUse::Certificate(place) {
                file.body = certificate.clone().into();
            } else if usage == FileUse::Key(place) {
                file.body = key.clone().into();
            }
        }
    }
}

fn certified() -> (String, String) {
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let certificate = CertificateParams::default().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn clock() -> WallClock {
    WallClock::new(Duration::from_secs(1_800_000_000))
}

/// The names of each entry of a listener.
fn names_at(config: &Config, listener: usize) -> Vec<String> {
    config.tls_entries(listener).iter().map(|entry| entry.names.join(" ")).collect()
}

fn tls_listeners(config: &Config) -> Vec<usize> {
    (0..config.listeners.len()).filter(|number| config.listeners[*number].is_tls()).collect()
}

#[test]
fn a_listener_has_an_entry_for_each_host_that_it_leads_to() {
    let config = site(
        "bind-ssl = [::]:443",
        &[
            ("A.example:443", "alias = www.a.example\nalias = 10.0.0.1"),
            ("own.example", "bind-ssl = 127.0.0.1:8443"),
            ("*", "alias = [::1]:443"),
        ],
    );
    let [shared, same, own] = tls_listeners(&config)[..] else { panic!("{:?}", config.listeners) };
    assert_eq!(names_at(&config, shared), ["10.0.0.1 a.example www.a.example", "::1 *"]);
    assert_eq!(names_at(&config, same), names_at(&config, shared));
    assert_eq!(names_at(&config, own), ["own.example *"], "the first host is shown where there is no *");
    assert_eq!(config.tls_entries(0), [], "clear text");

    let stores = Stores::new(&config, &clock()).unwrap();
    let store = |listener: usize| stores.certificates(listener).unwrap();
    assert!(std::sync::Arc::ptr_eq(store(shared), store(same)), "the same hosts, the same sessions");
    assert!(stores.certificates(0).is_none() && stores.certificates(99).is_none());
    let find = |listener: usize, name: &str| store(listener).find(Some(name));
    assert_eq!(find(shared, "WWW.a.example."), Some(0));
    assert_eq!((find(shared, "other.example"), find(own, "other.example")), (Some(1), Some(0)));
    let reached = config.reached_by(&config.listeners[shared]);
    assert_eq!(reached, [0, 2], "entry 1 is host 2");
}

#[test]
fn a_wildcard_is_for_all_names_with_one_label_more() {
    let config =
        site("sni-strict = on", &[("*.Example.org", ""), ("www.example.org", ""), ("b", "alias = *.example.org:443")]);
    let listener = tls_listeners(&config)[0];
    assert_eq!(names_at(&config, listener), ["", "www.example.org", "*.example.org b"], "the one with the port");
    let stores = Stores::new(&config, &clock()).unwrap();
    let find = |name| stores.certificates(listener).unwrap().find(Some(name));
    assert_eq!((find("www.example.org"), find("a.example.org")), (Some(1), Some(2)));
    assert_eq!((find("a.b.example.org"), find("example.org")), (None, None));
}

#[test]
fn strict_listeners_show_nothing_to_those_who_ask_for_others() {
    let config = site("sni-strict = on", &[("a.example", ""), ("*", "alias = b.example")]);
    let listener = tls_listeners(&config)[0];
    assert_eq!(names_at(&config, listener), ["a.example", "b.example"]);
    let stores = Stores::new(&config, &clock()).unwrap();
    let store = stores.certificates(listener).unwrap();
    assert_eq!((store.find(Some("c.example")), store.find(None), store.find(Some("b.example"))), (None, None, Some(1)));
}

#[test]
fn of_hosts_that_differ_by_port_the_one_of_the_listener_is_meant() {
    let config = site(
        "bind-ssl = *:8443\nbind-ssl = *:9443",
        &[("a.example", ""), ("a.example:8443", ""), ("b.example:1", ""), ("b.example:2", "")],
    );
    let [usual, other, third] = tls_listeners(&config)[..] else { panic!("{:?}", config.listeners) };
    assert_eq!(names_at(&config, usual), ["a.example *", "", "b.example", ""]);
    assert_eq!(names_at(&config, other), ["*", "a.example", "b.example", ""]);
    assert_eq!(names_at(&config, third), ["a.example *", "", "b.example", ""]);
    Stores::new(&config, &clock()).unwrap();
}

#[test]
fn entries_have_what_belongs_to_the_host() {
    let mut config =
        site("", &[("a", "client-ca = ca"), ("b", "client-ca = ca\nclient-auth = optional"), ("c", "ocsp = o")]);
    for (usage, file) in config.files_mut() {
        if let FileUse::Ocsp(_) | FileUse::ClientCa(_) = usage {
            file.body = usage.key().into();
        }
    }
    let entries = config.tls_entries(1);
    let ca = b"client-ca".to_vec();
    assert_eq!(entries[0].client_auth, tls::ClientAuth::Required { ca: ca.clone() });
    assert_eq!(entries[1].client_auth, tls::ClientAuth::Optional { ca });
    assert_eq!((&entries[2].client_auth, entries[2].ocsp.as_deref()), (&tls::ClientAuth::None, Some(&b"ocsp"[..])));
    assert_eq!(entries[0].label, "[blastbeat:a]");
    assert!(entries.iter().all(|entry| entry.protocols.contains(&b"http/1.1".to_vec())));
    assert_eq!(entries[0].chain, config.identity.unwrap().certificate.body);
}

#[test]
fn clients_choose_from_what_the_line_of_the_listener_says() {
    let config = site("bind-ssl = *:1\nbind-ssl = *:2 spdy=2,3,3.1\nbind-ssl = *:3 http1 spdy=3", &[("a", "")]);
    let offered: Vec<_> = tls_listeners(&config)
        .into_iter()
        .map(|listener| String::from_utf8(config.tls_entries(listener)[0].protocols.join(&b' ')).unwrap())
        .collect();
    let all = "h2 spdy/3.1 spdy/3 spdy/2 http/1.1 http/1.0";
    assert_eq!(offered[offered.len() - 3..], ["h2 http/1.1 http/1.0", all, "spdy/3 http/1.1 http/1.0"]);
}

#[test]
fn what_is_wrong_is_told_with_its_line_once() {
    let text = "[blastbeat]\nbind-ssl = *:443\nbind-ssl = *:8443\ncertificate = all.pem\nkey = all.key\n\
                [blastbeat:a]\nnode = app:welcome\nbind-ssl = *:443\n\
                [blastbeat:b]\nnode = app:welcome\ncertificate = b.pem\nkey = b.key\n\
                [blastbeat:c]\nnode = app:welcome\nocsp = c.der\n\
                [blastbeat:d]\nnode = app:welcome\nclient-ca = d.pem\n\
                [blastbeat:e!]\nnode = app:welcome\n";
    let mut config = parsed(text);
    fill(&mut config);
    for (usage, file) in config.files_mut() {
        match usage {
            FileUse::Key(Some(_)) => file.body = certified().1.into(),
            FileUse::Ocsp(_) => file.body = "no".into(),
            FileUse::Certificate(_) | FileUse::Key(None) | FileUse::ClientCa(_) | FileUse::ErrorPage(_) => {}
        }
    }
    let problems = Stores::new(&config, &clock()).unwrap_err();
    let mut problems: Vec<_> =
        problems.iter().map(|problem| problem.located(&config, text.as_bytes(), "test.ini").to_string()).collect();
    problems.sort_unstable();
    assert_eq!(
        problems,
        [
            "test.ini:12: key: b.key: the private key does not belong to the first certificate; write the path of a \
             PEM file with the key of the certificate, not encrypted",
            "test.ini:15: ocsp: c.der: the OCSP response is not one in DER with an answer in it; write the path of an \
             OCSP response in DER, as openssl ocsp -respout saves it",
            "test.ini:18: client-ca: d.pem: there is no certificate that vouches for clients; write the path of a PEM \
             file with the certificates that vouch for clients",
            "test.ini:19: [blastbeat:e!]: 'e!' is not a host name; write a name that a certificate can have",
        ]
    );

    config
        .files_mut()
        .filter(|(usage, _)| *usage == FileUse::Certificate(None))
        .for_each(|(_, file)| file.body = "".into());
    let problems = Stores::new(&config, &clock()).unwrap_err();
    let of_all: Vec<_> = problems
        .iter()
        .map(|problem| problem.located(&config, text.as_bytes(), "test.ini"))
        .filter(|problem| problem.line == 4)
        .collect();
    assert!(
        of_all[0].to_string().starts_with("test.ini:4: certificate: all.pem: there is no certificate; "),
        "{of_all:?}"
    );
}

#[test]
fn a_renewed_store_is_another_and_a_bad_one_is_none() {
    let mut config = site("", &[("a", "")]);
    let stores = Stores::new(&config, &clock()).unwrap();
    fill(&mut config);
    let renewed = stores.renew(&config).unwrap();
    let (old, new): (&Certificates, &Certificates) =
        (stores.certificates(1).unwrap(), renewed.certificates(1).unwrap());
    assert!(!core::ptr::eq(old, new));
    assert_eq!(new.find(Some("a")), Some(0));
    config.identity = None;
    assert!(renewed.renew(&config).is_err());
}
