"""Attacks on HTTP/2 and TLS, byte by byte: each ends its own connection, for a cause that is named, and harms nobody.

While an attack goes on a well-behaved client beside it asks again and again, and is answered each time.
"""

import contextlib
import socket
import ssl
import struct
import time

import pytest

import certificates
import siege
from blastbeat import Node, Server, packet, response
from frames import (ACK, CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, PADDED, PING, PREFACE,
                    PRIORITY, SETTINGS, Peer, Wire, frame, reset, settings, window_update)
from siege import MEBIBYTE
from test_https_clients import run_node

HANDFUL = 50
"""What an attacker sends before the client beside it has its turn."""

INI = """\
bind = 127.0.0.1:0 h2c
bind-ssl = 127.0.0.1:0
certificate = {certificate}
key = {key}
zmq = tcp://127.0.0.1:0
ping-freq = 100
max-body = 100k
{limits}
[blastbeat:localhost]
node = one
"""
IMPATIENT = "handshake-timeout = 0.2\nhead-timeout = 0.2\nbody-timeout = 0.2\nwrite-stall = 0.2\n"


def serve(node, sid, kind, body):
    """Answers with as many bytes as the query says, or `without` an end, or not at all."""
    if kind != b"uwsgi":
        return
    request = packet(body)
    if request["PATH_INFO"] != "/silence":
        size = int(request["QUERY_STRING"] or 2)
        node.reply(sid, b"headers", b"HTTP/1.1 200 OK\r\n\r\n" if request["PATH_INFO"] == "/without" else response(bytes(size)))
        for at in range(0, size, MEBIBYTE):
            node.reply(sid, b"body", bytes(min(MEBIBYTE, size - at)))


@contextlib.contextmanager
def fortress(program, folder, limits=""):
    certificate, key = certificates.issue(folder, "localhost")
    with Server(program, folder, INI.format(certificate=certificate, key=key, limits=limits)) as server:
        with Node(server, "one", serve).available() as server.node:
            yield server
            Wire.close_all()


besieged = siege.besieged("besieged", fortress)
# It waits for nobody.
impatient = siege.besieged("impatient", fortress, IMPATIENT)


def attacker(server, carrier="clear", **options):
    wire = Wire(server.port) if carrier == "clear" else Wire(server.tls_port, certificates.client(["h2"]))
    return Peer(wire, **options)


def prompt(server, greeting=frame(SETTINGS), **options):
    """A client that no server is too impatient for: all of its greeting is there when it is let in."""
    with server.standing_still():
        wire = Wire(server.port)
        wire.write(PREFACE + greeting)
        wire.flush()
    return Peer(wire, greeting=None, **options)


class Watch(siege.Account):
    """Asks beside an attack, and keeps count of what the server spends on it."""

    def __enter__(self):
        self.beside = prompt(self.server)
        self.ask()
        self.open()
        self.messages, self.asked = len(self.server.node.messages), 0
        return self

    def ask(self):
        answer = self.beside.get()
        assert (answer.status, answer.body) == (200, b"\0\0")
        self.asked = getattr(self, "asked", 0) + 1

    def refused(self, cause):
        """Waits for the line about the attacker in the log."""
        return self.server.log("client-refused", after=self.mark, cause=cause)

    def reached_the_node(self):
        """How many of the attacker's requests did."""
        return sum(message[1] == b"uwsgi" for message in self.server.node.messages[self.messages:]) - self.asked

    def __exit__(self, kind, value, trace):
        if kind is None:
            self.ask()
            self.settle()
        Wire.close_all()


def last(peer):
    return peer.next_stream - 2


def upload(peer, *fields, **options):
    return peer.head(*fields, method="POST", flags=END_HEADERS, **options)


def on_one_upload(peer, *arguments):
    """A frame on the only stream that this peer opens."""
    opening = upload(peer) if peer.next_stream == 1 else b""
    kind, flags, payload = arguments
    return opening + frame(kind, flags, 1, payload)


# What is sent again and again, after how many the server has had enough of it, and what it calls it.
FLOODS = {
    # CVE-2023-44487
    "requests taken back": ("rapid-reset", 1000, lambda peer: peer.head() + reset(last(peer))),
    "uploads taken back": ("rapid-reset", 1000, lambda peer: upload(peer) + frame(DATA, 0, last(peer), b"x") + reset(last(peer))),
    # CVE-2025-8671
    "windows too large": ("stream-errors", 200, lambda peer: upload(peer) + window_update(last(peer), 2**31 - 1)),
    "wrong lengths": ("stream-errors", 200,
                      lambda peer: upload(peer, ("content-length", "5")) + frame(DATA, END_STREAM, last(peer), b"x")),
    "streams that depend on themselves": (
        "stream-errors", 200, lambda peer: peer.head() + frame(PRIORITY, 0, last(peer), struct.pack(">IB", last(peer), 1))),
    "malformed heads": ("stream-errors", 200, lambda peer: peer.head(("connection", "close"))),
    # CVE-2019-9512, 9515, 9518 and their like
    "pings": ("ping-flood", 600, lambda peer: frame(PING, payload=b"12345678")),
    "answers to no ping": ("ping-flood", 600, lambda peer: frame(PING, ACK, payload=b"12345678")),
    "settings": ("settings-flood", 100, lambda peer: settings(65535)),
    "empty data": ("empty-frame-flood", 500, lambda peer: on_one_upload(peer, DATA, 0, b"")),
    "nothing but padding": ("empty-frame-flood", 100, lambda peer: on_one_upload(peer, DATA, PADDED, b"\x03\0\0\0")),
    "unknown frames": ("empty-frame-flood", 500, lambda peer: frame(0xfa, payload=b"abc")),
    "window updates": ("window-update-flood", 2000, lambda peer: window_update(0, 1)),
    "windows of one byte": ("window-update-flood", 2000, lambda peer: (
        peer.head(path="/?200000") if peer.next_stream == 1 else b"") + window_update(1, 1)),
    "priorities": ("priority-flood", 500, lambda peer: frame(PRIORITY, 0, 77, struct.pack(">IB", 0, 1))),
}


def flood(peer, watch, unit, handful=HANDFUL):
    """Sends the same again and again until the peer is sent away; returns how often."""
    sent = 0
    while not peer.wire.has_ended:
        assert sent < 10_000, "nobody minds"
        for _ in range(handful):
            peer.wire.write(unit(peer))
        sent += handful
        peer.flush()
        watch.ask()
        peer.look()
    return sent


@pytest.mark.parametrize("name", FLOODS)
def test_floods(besieged, name):
    cause, most, unit = FLOODS[name]
    with Watch(besieged) as watch:
        peer = attacker(besieged, polite=False)
        # The server forgets it all within half a minute, so twenty handfuls have to be enough.
        handful = max(HANDFUL, most // 20)
        began = time.monotonic()
        sent = flood(peer, watch, unit, handful)
        seconds = time.monotonic() - began
        assert peer.farewell() == (ENHANCE_YOUR_CALM, cause)
        watch.refused(cause)
        # Whoever does it so rarely that it may be in earnest is left alone: as much as this comes back in half a minute.
        assert most <= sent <= most * (1 + seconds / 30) + 5 * handful


@pytest.mark.parametrize("name", ["requests taken back", "windows too large", "pings"])
def test_floods_by_tls(besieged, name):
    cause, _, unit = FLOODS[name]
    with Watch(besieged) as watch:
        peer = attacker(besieged, "tls")
        flood(peer, watch, unit)
        assert peer.farewell() == (ENHANCE_YOUR_CALM, cause)
        assert peer.wire.failure is None
        watch.refused(cause)


def test_requests_that_are_taken_back_at_once_reach_no_node(besieged):
    with Watch(besieged) as watch:
        peer = attacker(besieged)
        peer.send(*[peer.head() + reset(last(peer)) for _ in range(500)])
        assert peer.get().status == 200
        # Where a piece of the input ends between a head and its reset, that one may.
        assert watch.reached_the_node() < 10


# CVE-2024-27316. One head has at most five of these frames.
@pytest.mark.parametrize("piece", [b"", b"\0\x01x\x01y", b"\0\x01x\x7f\xa0\x7d" + b"y" * 16159], ids=["empty", "short", "full"])
def test_a_head_without_an_end(besieged, piece):
    with Watch(besieged) as watch:
        peer = attacker(besieged)
        peer.send(peer.head(flags=END_STREAM))
        sent = 0
        while not peer.wire.has_ended:
            assert sent < 1000, "nobody minds"
            peer.send(frame(CONTINUATION, 0, 1, piece))
            sent += 1
            watch.ask()
            peer.look()
        assert peer.farewell() == (ENHANCE_YOUR_CALM, "continuation-flood")
        watch.refused("continuation-flood")
        assert sent <= 5 + 5
        assert watch.reached_the_node() == 0


def test_a_head_that_is_too_large(besieged):
    with Watch(besieged) as watch:
        peer = attacker(besieged)
        for _ in range(20):
            fields = [(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", "/"),
                      *((f"x-{n}", "y" * 1500) for n in range(50))]
            block = peer.encoder.encode(fields, huffman=False)
            pieces = [block[at:at + 16384] for at in range(0, len(block), 16384)]
            stream, peer.next_stream = peer.next_stream, peer.next_stream + 2
            kinds = [HEADERS] + [CONTINUATION] * (len(pieces) - 1)
            flags = [END_STREAM] + [0] * (len(pieces) - 2) + [END_HEADERS]
            peer.send(*[frame(kind, flag, stream, piece) for kind, flag, piece in zip(kinds, flags, pieces)])
            assert peer.answer(stream).status == 431
            watch.ask()
        assert peer.get().status == 200
        assert watch.reached_the_node() == 1


def test_too_many_fields(besieged):
    with Watch(besieged) as watch:
        peer = attacker(besieged)
        for _ in range(20):
            peer.send(peer.head(*((f"x-{n}", "y") for n in range(70))))
            assert peer.answer(last(peer)).status == 431
        assert peer.get().status == 200
        assert watch.reached_the_node() == 1


def test_a_small_head_that_decompresses_to_a_huge_one(besieged):
    with Watch(besieged) as watch:
        peer = attacker(besieged)
        peer.send(peer.head(("x-bomb", "y" * 3900)))
        assert peer.answer(1).status == 200
        (index,) = peer.encoder.encode([("x-bomb", "y" * 3900)])
        head = peer.head()[9:]
        peer.send(frame(HEADERS, END_STREAM | END_HEADERS, 3, head + bytes([index]) * 16000))
        code, _ = peer.farewell()
        assert code == ENHANCE_YOUR_CALM
        watch.refused("header-bomb")


def test_uploads_that_are_refused(besieged):
    """Two thousand on one connection, more than its window in all, each with data that is on its way when it is refused."""
    with Watch(besieged, seconds=10) as watch:
        peer = attacker(besieged)
        refused = 0
        for _ in range(40):
            streams = []
            for _ in range(50):
                peer.wire.write(upload(peer, ("content-length", "1000000")) + frame(DATA, 0, last(peer), bytes(1000)))
                streams.append(last(peer))
            peer.flush()
            for stream in streams:
                assert peer.answer(stream).status == 413
                refused += 1
            # Somebody who was refused goes.
            peer.send(*[reset(stream) for stream in streams if stream not in peer.resets])
            watch.ask()
        assert refused == 2000
        assert peer.get().status == 200
        assert watch.reached_the_node() == 1


@pytest.mark.parametrize("path", ["/", "/without"])
@pytest.mark.parametrize("whose", ["stream", "connection"])
def test_a_window_that_stays_shut(impatient, whose, path):
    greeting = settings(0 if whose == "stream" else 2**31 - 1)
    with Watch(impatient) as watch:
        peer = prompt(impatient, greeting=greeting, polite=False)
        peer.send(peer.head(path=f"{path}?{MEBIBYTE}"))
        peer.wait(lambda: peer.resets, "reset")
        assert peer.resets == {1: CANCEL}
        # The answer was complete, and only the client is late; or its session is over.
        impatient.log("client-refused" if path == "/" else "access", after=watch.mark, cause="window-stall")
        watch.ask()
        # It has not lost more than that.
        peer.send(window_update(0, MEBIBYTE), peer.head(method="HEAD"))
        assert peer.answer(3).status == 200


def test_a_client_that_reads_nothing(impatient):
    """Its windows are open, but it takes nothing of what is sent."""
    with Watch(impatient, memory=64 * MEBIBYTE, seconds=6) as watch:
        peer = prompt(impatient, greeting=settings(2**31 - 1) + window_update(0, 2**31 - 65536), polite=False)
        peer.wire.write(b"".join(peer.head(path=f"/?{MEBIBYTE}") for _ in range(40)))
        peer.wire.flush()
        # It may happen to it before the last of its requests is answered, or after.
        impatient.log(None, after=watch.mark, cause="write-stall")


@pytest.mark.parametrize("said", [PREFACE, PREFACE + frame(SETTINGS) + frame(HEADERS, END_STREAM, 1, b"\x82")],
                         ids=["preface", "half a head"])
def test_a_client_that_does_not_finish_what_it_begins(impatient, said):
    with Watch(impatient) as watch:
        with impatient.standing_still():
            wire = Wire(impatient.port)
            wire.write(said)
            wire.flush()
        wire.wait_for_end()
        watch.refused("head-timeout")


def test_a_body_that_does_not_come(impatient):
    with Watch(impatient) as watch:
        peer = prompt(impatient)
        peer.send(upload(peer, ("content-length", "10"), path="/silence") + frame(DATA, 0, 1, b"x"))
        assert peer.answer(1).status == 408
        impatient.log("access", after=watch.mark, cause="body-timeout")
        assert peer.get().status == 200


# --- TLS


@pytest.mark.parametrize("said", [b"", b"\x16", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"], ids=["nothing", "byte", "half a hello"])
def test_a_handshake_that_is_not_finished(impatient, said):
    with Watch(impatient) as watch:
        with impatient.standing_still():
            wire = Wire(impatient.tls_port)
            wire.write(said)
            wire.flush()
        wire.wait_for_end()
        watch.refused("handshake-timeout")


def test_handshakes_that_break_off(besieged):
    """One after the other goes away, in order or not, wherever its handshake is."""
    context = certificates.client()
    hello = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost").do_handshake()
    hello = hello.read()
    with Watch(besieged) as watch:
        for nth in range(200):
            wire = Wire(besieged.tls_port)
            wire.write(hello[:nth * len(hello) // 150])
            wire.flush()
            if nth % 2:
                # The kernel sends a reset instead of an end.
                wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            wire.close()
            if nth % 20 == 0:
                watch.ask()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_records_of_one_byte(besieged, version):
    with Watch(besieged) as watch:
        wire = Wire(besieged.tls_port, certificates.client(version=version))
        wire.write(b"POST /silence HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
        sent = 0
        while not wire.has_ended:
            assert sent < 50_000, "nobody minds"
            # A thousand in a second are no flood.
            for _ in range(2500):
                wire.write(b"x")
            sent += 2500
            wire.flush()
            watch.ask()
            wire.step(0)
        watch.refused("tls-flood")
        assert sent > 4000


def test_records_out_of_order(besieged):
    """ChangeCipherSpec again and again, which TLS 1.3 ignores once, and alerts that only warn."""
    for record in (b"\x14\x03\x03\0\x01\x01", b"\x15\x03\x03\0\x02\x01\x5a"):
        with Watch(besieged) as watch:
            wire = Wire(besieged.tls_port)
            wire.write(record * 2000)
            wire.flush()
            answer = wire.wait_for_end()
            assert answer[:1] == b"\x15" and answer[5:6] == b"\x02"
            watch.refused("tls-malformed")


def test_renegotiation(besieged, tmp_path):
    with Watch(besieged) as watch:
        result = run_node("renegotiate.js", besieged.tls_port, certificates.roots(tmp_path))
        assert result["renegotiated"] == 0 and result["first"] == "HTTP/1.1 200 OK"
        watch.ask()
