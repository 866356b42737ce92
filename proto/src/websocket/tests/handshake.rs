//! The opening handshake (RFC 6455, 4).

use super::*;
use crate::http::{Request, Response};
use crate::websocket::handshake;

/// RFC 6455, 1.3: the example of a handshake.
#[test]
fn the_key_of_the_rfc_gets_the_answer_of_the_rfc() {
    let request = Request::parse(
        b"GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://example.com\r\n\
        Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Version: 13\r\n\r\n",
        &Limits::DEFAULT,
    )
    .unwrap();
    assert!(handshake::is_requested(&request));
    let offer = handshake::read(&request).unwrap();
    assert_eq!(offer.origin(), Some(&b"http://example.com"[..]));
    let response = handshake::accept(&offer, Some(b"chat"), None, None).unwrap();
    assert_eq!(
        &response.text()[..],
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    );
    let _: &Response = &response;
}
