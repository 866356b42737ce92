//! A client's TLS, by a library of others.

use std::io::{Read, Write};

use rustls::{ClientConnection, Error};

use super::script::Script;
use crate::tls::{ciphertext, client};

pub struct Tunnel {
    connection: ClientConnection,
    /// What is on its way to the server.
    pub to_send: Vec<u8>,
    has_heard_goodbye: bool,
    has_failed: bool,
}

impl Tunnel {
    /// The TLS behind `header`, which is sent in clear.
    pub fn new(header: Vec<u8>, script: &mut Script<'_>) -> Self {
        let mut connection = client(script.byte().is_multiple_of(2));
        connection.set_buffer_limit(None);
        let mut tunnel = Self { connection, to_send: header, has_heard_goodbye: false, has_failed: false };
        tunnel.send(&[]);
        tunnel
    }

    /// Sends plaintext, once the handshake is complete.
    pub fn send(&mut self, plain: &[u8]) {
        if self.has_failed {
            return; // Nobody listens any more.
        }
        self.connection.writer().write_all(plain).expect("there is no limit");
        self.to_send.extend(ciphertext(&mut self.connection));
    }

    /// Says goodbye, asks for new keys, or sends what is no TLS.
    pub fn mumble(&mut self, script: &mut Script<'_>) {
        match script.byte() % 4 {
            0 => self.connection.send_close_notify(),
            // Only TLS 1.3 has it, and only when it is established.
            1 => drop(self.connection.refresh_traffic_keys()),
            _ => self.to_send.extend_from_slice(script.bytes()),
        }
        self.send(&[]);
    }

    /// Takes what the server sent; returns the plaintext.
    pub fn receive(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        while !bytes.is_empty() && !self.has_failed {
            assert!(!self.has_heard_goodbye, "nothing follows a goodbye");
            self.connection.read_tls(&mut bytes).expect("what was read is taken at once");
            match self.connection.process_new_packets() {
                Ok(state) => {
                    self.has_heard_goodbye = state.peer_has_closed();
                    // It says that there is no more, or that there is no more yet.
                    let _ = self.connection.reader().read_to_end(&mut plain);
                }
                Err(error) => {
                    assert!(matches!(error, Error::AlertReceived(_)), "what the server sends is sound: {error}");
                    self.has_failed = true;
                }
            }
        }
        self.send(&[]);
        plain
    }
}
