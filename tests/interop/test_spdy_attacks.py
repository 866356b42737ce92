"""Attacks on SPDY, frame by frame, in each version: each ends its own connection, or its own stream, for a cause that is named,
and harms nobody.

While an attack goes on a well-behaved client of HTTP/2 beside it asks again and again, and is answered each time.
"""

import contextlib
import struct
import time

import pytest

import certificates
import siege
from blastbeat import Node, Server
from frames import Wire
from siege import MEBIBYTE
from spdy import (CANCEL, CREDENTIAL, FIN, FLOW_CONTROL_ERROR, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, INVALID_CREDENTIALS,
                  INVALID_STREAM, NOOP, PING, PROTOCOL_ERROR, REFUSED_STREAM, RST_STREAM, SETTINGS, STREAM_ALREADY_CLOSED,
                  SYN_REPLY, SYN_STREAM, UNIDIRECTIONAL, VERSIONS, WINDOW, WINDOW_UPDATE, Language, Peer, data)
from test_attacks import HANDFUL, Watch, flood, serve

WITH_WINDOWS = ("3", "3.1")

# In clear text SPDY/3 and SPDY/3.1 begin alike: where both are spoken, the server finds out.
INI = """\
bind = 127.0.0.1:0 h2c spdy=2,3.1
bind = 127.0.0.1:0 h2c spdy=3
bind = 127.0.0.1:0 spdy=2,3,3.1
bind-ssl = 127.0.0.1:0 spdy=2,3,3.1
certificate = {certificate}
key = {key}
zmq = tcp://127.0.0.1:0
ping-freq = 100
linger-timeout = 50
max-body = 100k
{limits}
[blastbeat:localhost]
node = one
"""


@contextlib.contextmanager
def fortress(program, folder, limits=""):
    certificate, key = certificates.issue(folder, "localhost")
    with Server(program, folder, INI.format(certificate=certificate, key=key, limits=limits)) as server:
        with Node(server, "one", serve).available() as server.node:
            yield server
            Wire.close_all()


besieged = siege.besieged("besieged", fortress)
# They wait for nothing but one thing, so that a slow machine is in time with the rest.
waits_for_no_reader = siege.besieged("waits_for_no_reader", fortress, "write-stall = 0.2")
waits_for_no_head = siege.besieged("waits_for_no_head", fortress, "head-timeout = 0.2")
waits_for_no_body = siege.besieged("waits_for_no_body", fortress, "body-timeout = 0.2")


def wire_to(server, version, carrier="clear"):
    if carrier == "tls":
        return Wire(server.tls_port, certificates.client([f"spdy/{version}"]))
    return Wire(int(server.http[2 if carrier == "either" else 1 if version == "3" else 0].rpartition(":")[2]))


def attacker(server, version, carrier="clear", **options):
    return Peer(wire_to(server, version, carrier), version, **options)


def sent_away(peer, last=None):
    """Waits for the end, before which it has to say that the peer broke the protocol; SPDY/2 cannot say so."""
    good, code = peer.farewell()
    assert code == (None if peer.speaks.is_old else PROTOCOL_ERROR)
    assert last in (None, good)


def on_one_stream(peer, frame, path="/silence"):
    """A frame about the only stream that this peer opens."""
    return (peer.upload(path=path) if peer.next_stream == 1 else b"") + frame


def request_on(peer, stream):
    """A request that says itself which stream it opens."""
    return peer.speaks.syn_stream(stream, peer.speaks.compress(peer.speaks.block(peer.speaks.request())))


def empty_head(peer, kind, stream=1):
    return peer.speaks.about_a_stream(kind, stream, peer.speaks.compress(peer.speaks.block([])))


# What is sent again and again, after how many the server has had enough of it, what it calls it, and in which versions.
FLOODS = {
    "requests taken back": ("rapid-reset", 1000, VERSIONS, lambda peer: peer.head() + peer.speaks.reset(peer.last)),
    "uploads taken back": ("rapid-reset", 1000, VERSIONS,
                           lambda peer: peer.upload() + data(peer.last, b"x") + peer.speaks.reset(peer.last)),
    "resets of nothing": ("rapid-reset", 1000, VERSIONS, lambda peer: peer.speaks.reset(1)),
    "malformed heads": ("stream-errors", 200, VERSIONS, lambda peer: peer.syn([("", "x")])),
    "data for nobody": ("stream-errors", 200, VERSIONS, lambda peer: data(1001, b"x")),
    "heads for nobody": ("stream-errors", 200, VERSIONS, lambda peer: empty_head(peer, HEADERS, 1001)),
    "windows too large": ("stream-errors", 200, WITH_WINDOWS,
                          lambda peer: peer.upload() + peer.speaks.window_update(peer.last, 2**31 - 1)),
    "more requests than allowed": ("stream-errors", 300, VERSIONS, lambda peer: peer.head(path="/silence")),
    "pings": ("ping-flood", 600, VERSIONS, lambda peer: peer.speaks.ping(1)),
    "answers to no ping": ("ping-flood", 600, VERSIONS, lambda peer: peer.speaks.ping(2)),
    "settings": ("settings-flood", 100, VERSIONS, lambda peer: peer.speaks.settings((INITIAL_WINDOW_SIZE, 65536))),
    "empty settings": ("settings-flood", 100, VERSIONS, lambda peer: peer.speaks.settings()),
    "empty data": ("empty-frame-flood", 500, VERSIONS, lambda peer: on_one_stream(peer, data(1, b""))),
    "empty heads": ("empty-frame-flood", 500, VERSIONS, lambda peer: on_one_stream(peer, b"") + empty_head(peer, HEADERS)),
    "noops": ("empty-frame-flood", 500, ("2",), lambda peer: peer.speaks.control(NOOP)),
    "unknown frames": ("empty-frame-flood", 500, VERSIONS, lambda peer: peer.speaks.control(0xfa, b"abc")),
    "credentials where there are none": ("empty-frame-flood", 500, ("2", "3.1"),
                                         lambda peer: peer.speaks.control(CREDENTIAL, b"abcd")),
    "farewells": ("empty-frame-flood", 500, VERSIONS, lambda peer: on_one_stream(peer, peer.speaks.goaway())),
    "window updates": ("window-update-flood", 2000, VERSIONS, lambda peer: peer.speaks.window_update(1, 1)),
    "window updates of the connection": ("window-update-flood", 2000, VERSIONS, lambda peer: peer.speaks.window_update(0, 1)),
    # The connection's window is shut.
    "windows of one byte": ("window-update-flood", 2000, ("3.1",), lambda peer: on_one_stream(
        peer, peer.speaks.window_update(1, 1), "/?200000")),
}


@pytest.mark.parametrize("name, version", [(name, version) for name, flood in FLOODS.items() for version in flood[2]])
def test_floods(besieged, name, version):
    cause, most, _, unit = FLOODS[name]
    with Watch(besieged) as watch:
        peer = attacker(besieged, version, polite=False)
        began = time.monotonic()
        # The server forgets it all within half a minute, so twenty handfuls have to be enough.
        handful = max(HANDFUL, most // 20)
        sent = flood(peer, watch, unit, handful)
        seconds = time.monotonic() - began
        sent_away(peer)
        watch.refused(cause)
        # Whoever does it so rarely that it may be in earnest is left alone: as much as this comes back in half a minute.
        assert most - handful < sent <= most * (1 + seconds / 30) + 5 * handful


@pytest.mark.parametrize("name", ["requests taken back", "malformed heads", "pings", "answers to no ping", "window updates"])
@pytest.mark.parametrize("carrier", ["tls", "either"])
def test_floods_elsewhere(besieged, name, carrier):
    cause, most, _, unit = FLOODS[name]
    with Watch(besieged) as watch:
        peer = attacker(besieged, "3.1", carrier)
        flood(peer, watch, unit, max(HANDFUL, most // 20))
        sent_away(peer)
        assert peer.wire.failure is None
        watch.refused(cause)


# --- Heads


@pytest.mark.parametrize("version", VERSIONS)
def test_requests_that_are_taken_back_at_once_reach_no_node(besieged, version):
    with Watch(besieged) as watch:
        peer = attacker(besieged, version)
        peer.send(*[peer.head() + peer.speaks.reset(peer.last) for _ in range(500)])
        assert peer.get().status == 200
        # Where a piece of the input ends between a head and its reset, that one may.
        assert watch.reached_the_node() < 10


@pytest.mark.parametrize("version", VERSIONS)
def test_more_requests_at_a_time_than_allowed(besieged, version):
    with Watch(besieged) as watch:
        peer = attacker(besieged, version)
        peer.send(*[peer.head(path="/silence") for _ in range(100)])
        peer.send(peer.head(path="/silence"), peer.head(path="/silence"))
        peer.wait(lambda: len(peer.resets) == 2, "resets")
        assert peer.resets == {201: REFUSED_STREAM, 203: REFUSED_STREAM}
        watch.refused("streams-max")
        peer.send(peer.speaks.reset(1))
        assert peer.get().status == 200
        assert watch.reached_the_node() == 101


@pytest.mark.parametrize("version", VERSIONS)
def test_a_small_head_that_decompresses_to_a_huge_one(besieged, version):
    with Watch(besieged) as watch:
        peer = attacker(besieged, version)
        bomb = peer.speaks.compress(bytes(16 * MEBIBYTE))
        assert len(bomb) < 20_000
        peer.send(peer.speaks.syn_stream(1, bomb))
        sent_away(peer, 0)
        watch.refused("header-bomb")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_head_that_is_too_large(besieged, version):
    """It is decompressed all the same: what follows refers to it."""
    with Watch(besieged) as watch:
        peer = attacker(besieged, version)
        for _ in range(20):
            peer.send(peer.head(*[(f"x-{n}", "y" * 1500) for n in range(55)]))
            assert peer.answer(peer.last).status == 431
            watch.refused("head-too-large")
            watch.ask()
        assert peer.get().status == 200
        assert watch.reached_the_node() == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_too_many_fields(besieged, version):
    with Watch(besieged) as watch:
        peer = attacker(besieged, version)
        for _ in range(20):
            peer.send(peer.head(*[(f"x-{n}", "y") for n in range(100)]))
            assert peer.answer(peer.last).status == 431
            watch.refused("fields-too-many")
        assert peer.get().status == 200
        assert watch.reached_the_node() == 1


BLOCKS = {
    "a name that is empty": lambda speaks: speaks.block([*speaks.request(), ("", "x")]),
    "a name twice": lambda speaks: speaks.block([*speaks.request(), ("x", "1"), ("x", "2")]),
    "capitals": lambda speaks: speaks.block([*speaks.request(), ("X", "1")]),
    "a line break": lambda speaks: speaks.block([*speaks.request(), ("x", "1\r\ny: 2")]),
    "a NUL that joins nothing": lambda speaks: speaks.block([*speaks.request(), ("x", "1\0\0" "2")]),
    "a field short": lambda speaks: speaks.block(speaks.request())[:-1],
    "a byte more": lambda speaks: speaks.block(speaks.request()) + b"x",
    "a count without an end": lambda speaks: b"\xff" * 8,
    "a length without an end": lambda speaks: speaks.block([("x", "1")])[:-1] + b"\xff\xff\xff\xff",
    "nothing": lambda speaks: b"",
}


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("version", VERSIONS)
def test_blocks_that_make_no_sense(besieged, version, name):
    with Watch(besieged) as watch:
        peer = attacker(besieged, version)
        peer.send(peer.speaks.syn_stream(1, peer.speaks.compress(BLOCKS[name](peer.speaks))))
        peer.wait(lambda: peer.resets, "a reset")
        assert peer.resets == {1: PROTOCOL_ERROR}
        watch.refused("block-malformed")
        peer.next_stream = 3
        assert peer.get().status == 200
        assert watch.reached_the_node() == 1


GARBAGE = {
    "no zlib": lambda speaks: b"GET / HTTP/1.1\r\n\r\n",
    "another dictionary": lambda speaks: Language("3" if speaks.is_old else "2").compress(b"x"),
    "a block of no type": lambda speaks: speaks.compress(b"") + b"\xff" * 20,
    "an end": lambda speaks: speaks.compress(b"") + speaks.compressor.flush() + b"more",
}


@pytest.mark.parametrize("name", GARBAGE)
@pytest.mark.parametrize("version", VERSIONS)
def test_blocks_that_are_not_compressed_as_they_should_be(besieged, version, name):
    with Watch(besieged) as watch:
        peer = attacker(besieged, version)
        peer.send(peer.speaks.syn_stream(1, GARBAGE[name](peer.speaks)))
        sent_away(peer, 0)
        watch.refused("compression-malformed")
        assert watch.reached_the_node() == 0


# --- Frames


SIZES = {
    "a reset": lambda speaks: speaks.control(RST_STREAM, bytes(7)),
    "a reset with a novel": lambda speaks: speaks.control(RST_STREAM, bytes(300)),
    "settings": lambda speaks: speaks.control(SETTINGS, bytes(3)),
    "settings without an end": lambda speaks: speaks.control(SETTINGS, bytes(4 + 8 * 33)),
    "a ping": lambda speaks: speaks.control(PING, bytes(5)),
    "a farewell": lambda speaks: speaks.control(GOAWAY, bytes(3)),
    "a window": lambda speaks: speaks.control(WINDOW_UPDATE, bytes(4)),
    "a request": lambda speaks: speaks.control(SYN_STREAM, bytes(9)),
    "a request of 16 MiB": lambda speaks: speaks.control(SYN_STREAM, bytes(10), length=0xffffff),
    "a head of 16 MiB": lambda speaks: speaks.control(HEADERS, bytes(10), length=0xffffff),
}


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("version", VERSIONS)
def test_frames_of_a_wrong_size(besieged, version, name):
    with Watch(besieged) as watch:
        peer = attacker(besieged, version)
        peer.send(SIZES[name](peer.speaks))
        sent_away(peer)
        watch.refused("frame-size-wrong")


DISORDER = {
    "a stream of the server's": ("framing-malformed", VERSIONS, lambda peer: request_on(peer, 2)),
    "descending streams": ("framing-malformed", VERSIONS,
                           lambda peer: peer.upload(path="/silence") + peer.upload(path="/silence") + request_on(peer, 1)),
    "settings that are fewer than said": ("framing-malformed", VERSIONS,
                                          lambda peer: peer.speaks.control(SETTINGS, b"\0\0\0\x02" + bytes(8))),
    "another version": ("version-unsupported", VERSIONS, lambda peer: Language("3" if peer.speaks.is_old else "2").ping()),
    "certificates": ("credential-unsupported", ("3",), lambda peer: peer.speaks.control(CREDENTIAL, bytes(10))),
    "a window that does not open": ("framing-malformed", ("3.1",), lambda peer: peer.speaks.window_update(0, 0)),
    "a window too large": ("window-exceeded", ("3.1",), lambda peer: peer.speaks.window_update(0, 2**31 - 1)),
    "first windows too large": ("window-exceeded", WITH_WINDOWS, lambda peer: peer.speaks.settings((INITIAL_WINDOW_SIZE, 2**31))),
    "data for stream 0": ("framing-malformed", VERSIONS, lambda peer: data(0, b"x")),
    "more data than the connection has a window for": ("window-exceeded", ("3.1",), lambda peer: struct.pack(">II", 1, 0xffffff)),
}


@pytest.mark.parametrize("name, version", [(name, version) for name, case in DISORDER.items() for version in case[1]])
def test_frames_that_end_the_connection(besieged, name, version):
    cause, _, frames = DISORDER[name]
    with Watch(besieged) as watch:
        peer = attacker(besieged, version)
        peer.send(frames(peer))
        sent_away(peer)
        watch.refused(cause)


# What ends the only stream, by which code and for which cause, while the rest goes on.
WRONGS = {
    "a stream twice": (PROTOCOL_ERROR, "framing-malformed", VERSIONS,
                       lambda peer: peer.upload(path="/silence") + request_on(peer, 1)),
    "an answer of the client's": (PROTOCOL_ERROR, "framing-malformed", VERSIONS,
                                  lambda peer: peer.upload(path="/silence") + empty_head(peer, SYN_REPLY)),
    "a stream that takes no answer": (PROTOCOL_ERROR, "framing-malformed", VERSIONS,
                                      lambda peer: peer.head(flags=FIN | UNIDIRECTIONAL)),
    "data behind the end": (STREAM_ALREADY_CLOSED, "framing-malformed", VERSIONS,
                            lambda peer: peer.head(path="/silence") + data(1, b"x")),
    "a head behind the end": (STREAM_ALREADY_CLOSED, "framing-malformed", VERSIONS,
                              lambda peer: peer.head(path="/silence") + empty_head(peer, HEADERS)),
    "compressed data": (PROTOCOL_ERROR, "framing-malformed", VERSIONS,
                        lambda peer: peer.upload(path="/silence") + data(1, b"x", 2)),
    "a certificate's slot": (INVALID_CREDENTIALS, "credential-unsupported", ("3",),
                             lambda peer: peer.syn(peer.speaks.request(), slot=1)),
    "more than its window": (FLOW_CONTROL_ERROR, "window-exceeded", WITH_WINDOWS,
                             lambda peer: peer.upload(path="/silence") + data(1, bytes(300_000))),
    "a window that does not open": (PROTOCOL_ERROR, "framing-malformed", WITH_WINDOWS,
                                    lambda peer: peer.upload(path="/silence") + peer.speaks.window_update(1, 0)),
    "a window too large": (FLOW_CONTROL_ERROR, "window-exceeded", WITH_WINDOWS,
                           lambda peer: peer.upload(path="/silence") + peer.speaks.window_update(1, 2**31 - 1)),
}


@pytest.mark.parametrize("name, version", [(name, version) for name, case in WRONGS.items() for version in case[2]])
def test_frames_that_end_a_stream(besieged, name, version):
    code, cause, _, frames = WRONGS[name]
    with Watch(besieged) as watch:
        peer = attacker(besieged, version)
        peer.send(frames(peer))
        peer.wait(lambda: peer.resets, "a reset")
        # SPDY/2 has fewer codes.
        assert peer.resets == {1: PROTOCOL_ERROR if version == "2" and code > FLOW_CONTROL_ERROR else code}
        besieged.log(None, after=watch.mark, cause=cause)
        assert peer.get().status == 200


@pytest.mark.parametrize("version", VERSIONS)
def test_frames_for_streams_that_are_not_there(besieged, version):
    with Watch(besieged):
        peer = attacker(besieged, version)
        peer.send(data(1001, b"x"), empty_head(peer, HEADERS, 1003), empty_head(peer, SYN_REPLY, 1005))
        peer.wait(lambda: len(peer.resets) == 3, "resets")
        assert peer.resets == {1001: INVALID_STREAM, 1003: INVALID_STREAM, 1005: INVALID_STREAM}
        # Of one that is over nobody minds.
        assert peer.get().status == 200
        peer.send(data(1, b"x"), peer.speaks.window_update(1, 1), peer.speaks.reset(1))
        peer.ping()
        assert 1 not in peer.resets


@pytest.mark.parametrize("version", VERSIONS)
def test_a_body_in_a_frame_of_16_mib(besieged, version):
    """Too much for the window where there is one, else for a body."""
    with Watch(besieged) as watch:
        peer = attacker(besieged, version)
        peer.wire.write(peer.upload(path="/silence") + struct.pack(">II", 1, 0xffffff))
        for _ in range(16):
            if not peer.wire.has_ended:
                peer.send(bytes(0xfffff))
                watch.ask()
        if version == "3.1":
            sent_away(peer)
            watch.refused("window-exceeded")
            return
        if version == "3":
            assert peer.resets == {1: FLOW_CONTROL_ERROR}
        else:
            assert peer.answer(1).status == 413
        # All but 15 bytes of it were sent.
        peer.send(bytes(15))
        assert peer.get().status == 200


@pytest.mark.parametrize("version", VERSIONS)
def test_uploads_that_are_refused(besieged, version):
    """A thousand on one connection, each with data that is on its way when it is refused."""
    with Watch(besieged, seconds=10) as watch:
        peer = attacker(besieged, version)
        for _ in range(20):
            streams = []
            for _ in range(50):
                peer.wire.write(peer.upload(("content-length", "1000000")) + data(peer.last, bytes(1000)))
                streams.append(peer.last)
            peer.flush()
            for stream in streams:
                assert peer.answer(stream).status == 413
            # Somebody who was refused goes.
            peer.send(*[peer.speaks.reset(stream) for stream in streams if stream not in peer.resets])
            watch.ask()
        assert peer.get().status == 200
        assert watch.reached_the_node() == 1


# --- Slowness


@pytest.mark.parametrize("path", ["/", "/without"])
@pytest.mark.parametrize("whose, version", [("stream", "3"), ("stream", "3.1"), ("connection", "3.1")])
def test_a_window_that_stays_shut(waits_for_no_reader, version, whose, path):
    window = 0 if whose == "stream" else 2**31 - 1
    with Watch(waits_for_no_reader) as watch:
        peer = attacker(waits_for_no_reader, version, polite=False)
        peer.send(peer.speaks.settings((INITIAL_WINDOW_SIZE, window)), peer.head(path=f"{path}?{MEBIBYTE}"))
        peer.wait(lambda: peer.resets, "a reset")
        assert peer.resets == {1: CANCEL}
        # The answer was complete, and only the client is late; or its session is over.
        waits_for_no_reader.log("client-refused" if path == "/" else "access", after=watch.mark, cause="window-stall")
        watch.ask()
        # It has not lost more than that.
        peer.send(peer.speaks.window_update(0, MEBIBYTE) if version == "3.1" else b"", peer.head(method="HEAD"))
        assert peer.answer(3).status == 200


def test_a_window_that_nobody_knows_of(waits_for_no_reader):
    """Whoever neither opens it nor answers when he is asked gets no more."""
    with Watch(waits_for_no_reader) as watch:
        peer = attacker(waits_for_no_reader, "3.1", "either", polite=False)
        peer.answers_pings = False
        peer.send(peer.speaks.settings((INITIAL_WINDOW_SIZE, 2**31 - 1)), peer.head(path=f"/?{MEBIBYTE}"))
        peer.wait(lambda: peer.resets, "a reset")
        assert (peer.resets, len(peer.answers[1][2])) == ({1: CANCEL}, WINDOW)
        waits_for_no_reader.log("client-refused", after=watch.mark, cause="window-stall")


def test_a_body_in_one_frame_while_nobody_knows_of_windows(besieged):
    """The stream has one all the same."""
    with Watch(besieged) as watch:
        peer = attacker(besieged, "3.1", "either")
        peer.wire.write(peer.upload(path="/silence") + struct.pack(">II", 1, 0xffffff))
        for _ in range(16):
            peer.send(bytes(0xfffff))
            watch.ask()
        peer.send(bytes(15))
        assert peer.resets == {1: FLOW_CONTROL_ERROR}
        assert peer.get().status == 200


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_that_reads_nothing(waits_for_no_reader, version):
    """Its windows are open, but it takes nothing of what is sent."""
    with Watch(waits_for_no_reader, memory=64 * MEBIBYTE, seconds=6) as watch:
        peer = attacker(waits_for_no_reader, version, polite=False)
        open_wide = peer.speaks.settings((INITIAL_WINDOW_SIZE, 2**31 - 1)) + peer.speaks.window_update(0, 2**31 - 65537)
        peer.wire.write(open_wide + b"".join(peer.head(path=f"/?{MEBIBYTE}") for _ in range(40)))
        peer.wire.flush()
        # It may happen to it before the last of its requests is answered, or after.
        waits_for_no_reader.log(None, after=watch.mark, cause="write-stall")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("how", ["a byte", "two bytes", "half a frame", "half a head", "half a head behind another"])
def test_a_client_that_does_not_finish_what_it_begins(waits_for_no_head, version, how):
    speaks = Language(version)
    whole = speaks.syn_stream(1, speaks.compress(speaks.block(speaks.request(path="/silence"))))
    said = {"a byte": whole[:1], "two bytes": whole[:2], "half a frame": whole[:12], "half a head": whole[:-10]}.get(how)
    if said is None:
        following = speaks.syn_stream(3, speaks.compress(speaks.block(speaks.request())))
        said = whole + following[:-5]
    with Watch(waits_for_no_head) as watch:
        with waits_for_no_head.standing_still():
            wire = wire_to(waits_for_no_head, version)
            wire.write(said)
            wire.flush()
        wire.wait_for_end()
        # Of one byte nobody can say what it is.
        if how != "a byte":
            watch.refused("head-timeout")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_body_that_does_not_come(waits_for_no_body, version):
    with Watch(waits_for_no_body) as watch:
        peer = attacker(waits_for_no_body, version)
        peer.send(peer.upload(("content-length", "10"), path="/silence"), data(1, b"x"))
        assert peer.answer(1).status == 408
        waits_for_no_body.log("access", after=watch.mark, cause="body-timeout")
        assert peer.get().status == 200


# --- TLS


@pytest.mark.parametrize("version", VERSIONS)
def test_another_version_than_was_negotiated(besieged, version):
    with Watch(besieged) as watch:
        peer = attacker(besieged, version, "tls")
        peer.send(Language("3" if version == "2" else "2").ping())
        sent_away(peer, 0)
        watch.refused("version-unsupported")
