//! What a TLS connection costs while nothing happens on it. Alone in its program, so that nobody else's memory counts.

#![cfg(all(feature = "__tls", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "it asks the kernel, and tells")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use blastbeat_proto::time::{Duration, Instant};
use blastbeat_proto::tls::{
    Certificates, ClientAuth, Connection, Entry, Event, IDLE_BYTES, Resumption, Settings, WallClock,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

const CONNECTIONS: usize = 500;

/// A full record, for which buffers grow.
const RECORD: usize = 16 * 1024;

#[test]
fn an_idle_connection_takes_little_memory_whatever_was_on_it() {
    let (settings, client) = setup();
    drop(connect(&settings, &client, RECORD)); // what is made once is made now
    let idle = measure("nothing", || connect(&settings, &client, 0));
    assert!(idle.resident > size_of::<Connection>(), "this measures nothing");
    assert!(idle.resident < IDLE_BYTES, "{idle:?}");
    // What is freed leaves holes, which are used again but count as resident, so this looks at what is allocated.
    let used = measure("two full records each way", || connect(&settings, &client, 2 * RECORD));
    assert!(used.allocated < idle.allocated + 512, "{used:?}, {idle:?}");
}

/// Memory for one connection.
#[derive(Debug)]
struct Each {
    /// What the kernel counts: everything.
    resident: usize,
    /// What Rust has allocated: all but the keys, which the cryptographic library allocates by itself.
    allocated: usize,
}

fn measure(after: &str, connect: impl Fn() -> Connection) -> Each {
    let mut connections = Vec::with_capacity(CONNECTIONS);
    let (resident, allocated) = (resident_bytes(), ALLOCATED.load(Ordering::Relaxed));
    connections.extend((0..CONNECTIONS).map(|_| connect()));
    let each = Each {
        resident: (resident_bytes() - resident) / CONNECTIONS + size_of::<Connection>(),
        allocated: (ALLOCATED.load(Ordering::Relaxed) - allocated) / CONNECTIONS + size_of::<Connection>(),
    };
    println!("after {after}: {each:?}");
    each
}

/// Counts what is allocated.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: all the work is the system allocator's, called as we are called.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

fn setup() -> (Arc<Settings>, Arc<ClientConfig>) {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["a.test".to_string()]).expect("a certificate");
    let entry = Entry {
        label: "a.test".to_string(),
        names: vec!["a.test".to_string()],
        chain: cert.pem().into_bytes(),
        key: signing_key.serialize_pem().into_bytes(),
        ocsp: None,
        client_auth: ClientAuth::None,
        protocols: vec![b"http/1.1".to_vec()],
    };
    let clock = WallClock::new(Duration::from_secs(1_800_000_000));
    let certificates = Certificates::new(&[entry], Resumption::OFF, &clock).expect("a good certificate");
    let settings = Settings { certificates: Arc::new(certificates), handshake_timeout: Duration::from_secs(10) };
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).expect("a good certificate");
    #[cfg(feature = "tls")]
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(not(feature = "tls"))]
    let provider = rustls::crypto::ring::default_provider();
    let client = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(settings), Arc::new(client))
}

/// A connection after its handshake and `traffic` bytes in each direction.
fn connect(settings: &Arc<Settings>, client: &Arc<ClientConfig>, traffic: usize) -> Connection {
    let mut server = Connection::new(settings.clone(), Instant::ZERO);
    let name = ServerName::try_from("a.test").expect("a name");
    let mut client = ClientConnection::new(client.clone(), name).expect("a client");
    let mut read = vec![0; 64 * 1024];
    let (mut up, mut down) = (0, 0);
    while !server.is_established() || up < traffic || down < traffic {
        if server.is_established() && up < traffic {
            client.writer().write_all(&[b'x'; RECORD]).expect("room");
            server.send_plain(&[b'x'; RECORD]).expect("it is established");
        }
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).expect("memory");
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            rest = &rest[server.receive(rest, Instant::ZERO)..];
            if let Some(event) = server.poll_event() {
                assert!(matches!(event, Event::Established(_)));
            }
            up += server.poll_plain(&mut read);
        }
        let bytes = server.outbound().take();
        let mut bytes = &bytes[..];
        while !bytes.is_empty() {
            client.read_tls(&mut bytes).expect("room");
            client.process_new_packets().expect("a good server");
            down += std::io::Read::read(&mut client.reader(), &mut read).unwrap_or(0);
        }
    }
    server
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("the kernel says it");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).expect("a number") * 1024
}
