//! Sessions that are taken up again, and those that must not be.

use alloc::sync::Arc;

use rustls::NamedGroup;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption as ClientResumption, Tls12ClientSessionValue,
    Tls12Resumption, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;

use super::peer::*;
use crate::error::Cause;
use crate::time::{Duration, Instant};
use crate::tls::{Certificates, ClientAuth, Connection, Entry, Resumption, WallClock};

const TICKETS: Resumption = Resumption { tickets: true, sessions: 0 };
const SESSIONS: Resumption = Resumption { tickets: false, sessions: 100 };

fn connect(certificates: &Arc<Certificates>, client: &Arc<rustls::ClientConfig>, name: &str) -> Pair {
    let mut pair = Pair::with(client.clone(), name, Connection::new(settings(certificates), Instant::ZERO));
    pair.run();
    pair
}

fn is_resumed(certificates: &Arc<Certificates>, client: &Arc<rustls::ClientConfig>, name: &str) -> bool {
    connect(certificates, client, name).facts().is_resumed
}

#[test]
fn sessions_are_taken_up_again_by_ticket_and_by_memory() {
    let certified = ed25519(&["a.test"]);
    let entries = [entry(&["a.test"], &certified)];
    for resumption in [TICKETS, SESSIONS, Resumption::default()] {
        for versions in [TLS13, TLS12] {
            let certificates = Arc::new(Certificates::new(&entries, resumption, &clock()).unwrap());
            let client = Arc::new(trusting(&[&certified], versions));
            assert!(!is_resumed(&certificates, &client, "a.test"));
            assert!(is_resumed(&certificates, &client, "a.test"), "{resumption:?}, {versions:?}");
            assert!(is_resumed(&certificates, &client, "a.test"), "each brings the next");
        }
    }
}

#[test]
fn a_client_of_tls_1_2_without_tickets_is_remembered() {
    let certified = ed25519(&["a.test"]);
    let certificates = store(&[entry(&["a.test"], &certified)]);
    let mut client = trusting(&[&certified], TLS12);
    client.resumption = ClientResumption::in_memory_sessions(4).tls12_resumption(Tls12Resumption::SessionIdOnly);
    let client = Arc::new(client);
    assert!(!is_resumed(&certificates, &client, "a.test"));
    assert!(is_resumed(&certificates, &client, "a.test"));
}

#[test]
fn resumption_can_be_turned_off() {
    let certified = ed25519(&["a.test"]);
    let entries = [entry(&["a.test"], &certified)];
    let certificates = Arc::new(Certificates::new(&entries, Resumption::OFF, &clock()).unwrap());
    for versions in [TLS13, TLS12] {
        let client = Arc::new(trusting(&[&certified], versions));
        assert!(!is_resumed(&certificates, &client, "a.test"));
        assert!(!is_resumed(&certificates, &client, "a.test"));
    }
}

#[test]
fn one_ticket_comes_with_a_handshake() {
    let (certificates, client) = simple();
    let mut pair = Pair::established(&certificates, client);
    pair.run();
    assert_eq!(pair.client.tls13_tickets_received(), 1);
}

#[test]
fn sessions_survive_a_renewal_and_not_their_lifetime() {
    let (old, new) = (ed25519(&["a.test"]), ed25519(&["a.test"]));
    for resumption in [TICKETS, SESSIONS] {
        let clock = clock();
        let first = Arc::new(Certificates::new(&[entry(&["a.test"], &old)], resumption, &clock).unwrap());
        let client = Arc::new(trusting(&[&old, &new], TLS13));
        assert!(!is_resumed(&first, &client, "a.test"));
        let second = Arc::new(first.renew(&[entry(&["a.test"], &new)]).unwrap());
        assert!(is_resumed(&second, &client, "a.test"), "{resumption:?}");
        clock.set(NOW + Duration::from_secs(25 * 60 * 60));
        assert!(!is_resumed(&second, &client, "a.test"), "{resumption:?}");
    }
}

/// A session begun where nobody is asked for a certificate must not open a door where everybody is (nor one begun
/// with the certificate of another authority).
#[test]
fn sessions_do_not_cross_from_one_client_authentication_to_another() {
    let (server, friends, others) = (ed25519(&["a.test"]), Authority::new("Friends"), Authority::new("Others"));
    let none = ClientAuth::None;
    let optional = ClientAuth::Optional { ca: friends.pem.clone().into_bytes() };
    let required = ClientAuth::Required { ca: friends.pem.clone().into_bytes() };
    let another = ClientAuth::Required { ca: others.pem.into_bytes() };
    let ann = friends.certify(|_| {});
    for resumption in [TICKETS, SESSIONS] {
        for versions in [TLS13, TLS12] {
            let renewed = |from: &Certificates, client_auth: &ClientAuth| {
                let entry = Entry { client_auth: client_auth.clone(), ..entry(&["a.test"], &server) };
                Arc::new(from.renew(&[entry]).unwrap())
            };
            let base = Certificates::new(&[entry(&["a.test"], &server)], resumption, &clock()).unwrap();
            let nobody = Arc::new(trusting(&[&server], versions));
            assert!(!is_resumed(&renewed(&base, &none), &nobody, "a.test"));
            connect(&renewed(&base, &required), &nobody, "a.test").assert_refused(Cause::TlsCertificateMissing);

            let somebody = Arc::new(client_config(&[&server], versions, Some(&ann)));
            let asking = renewed(&base, &optional);
            assert!(!is_resumed(&asking, &somebody, "a.test"));
            let again = connect(&asking, &somebody, "a.test");
            assert!(again.facts().is_resumed && again.facts().client.is_some(), "its certificate is remembered");
            let demanding = connect(&renewed(&asking, &required), &somebody, "a.test");
            assert!(!demanding.facts().is_resumed);
            connect(&renewed(&asking, &another), &somebody, "a.test").assert_refused(Cause::TlsCertificateRefused);
        }
    }
}

#[test]
fn a_session_ends_with_the_certificate_that_it_began_with() {
    let (server, friends) = (ed25519(&["a.test"]), Authority::new("Friends"));
    let clock = WallClock::new(NOW);
    let client_auth = ClientAuth::Required { ca: friends.pem.clone().into_bytes() };
    let entries = [Entry { client_auth, ..entry(&["a.test"], &server) }];
    let certificates = Arc::new(Certificates::new(&entries, TICKETS, &clock).unwrap());
    // 1,800,000,000 is the 15th of January 2027.
    let ann = friends.certify(|params| params.not_after = rcgen::date_time_ymd(2027, 1, 16));
    let client = Arc::new(showing(&[&server], &ann));
    assert!(!is_resumed(&certificates, &client, "a.test"));
    clock.set(NOW + Duration::from_secs(5 * 60 * 60));
    assert!(is_resumed(&certificates, &client, "a.test"));
    clock.set(NOW + Duration::from_secs(17 * 60 * 60));
    connect(&certificates, &client, "a.test").assert_refused(Cause::TlsCertificateRefused);
}

#[test]
fn sessions_do_not_cross_from_one_name_to_another() {
    let server = ed25519(&["a.test", "b.test"]);
    let certificates = store(&[entry(&["a.test"], &server), entry(&["b.test"], &server)]);
    for versions in [TLS13, TLS12] {
        let mut careless = trusting(&[&server], versions);
        careless.resumption = ClientResumption::store(Arc::new(Careless(ClientSessionMemoryCache::new(8))));
        let careless = Arc::new(careless);
        assert!(!is_resumed(&certificates, &careless, "a.test"));
        assert!(is_resumed(&certificates, &careless, "a.test"));
        assert!(!is_resumed(&certificates, &careless, "b.test"));
    }
}

/// Offers to everybody what it got from anybody.
#[derive(Debug)]
struct Careless(ClientSessionMemoryCache);

fn anybody() -> ServerName<'static> {
    ServerName::try_from("anybody").unwrap()
}

impl ClientSessionStore for Careless {
    fn set_kx_hint(&self, _name: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(anybody(), group);
    }

    fn kx_hint(&self, _name: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(&anybody())
    }

    fn set_tls12_session(&self, _name: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.0.set_tls12_session(anybody(), session);
    }

    fn tls12_session(&self, _name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&anybody())
    }

    fn remove_tls12_session(&self, _name: &ServerName<'static>) {
        self.0.remove_tls12_session(&anybody());
    }

    fn insert_tls13_ticket(&self, _name: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(anybody(), ticket);
    }

    fn take_tls13_ticket(&self, _name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&anybody())
    }
}
