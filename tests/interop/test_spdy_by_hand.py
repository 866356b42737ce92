"""SPDY frame by frame: what the packages of npm cannot show."""

import hashlib
import json
import signal
import ssl

import pytest

import certificates
import spdy_site
from blastbeat import Node, Server, hello, packet
from frames import Wire
from siege import MEBIBYTE
from spdy import (CANCEL, FIN, INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, PING, REFUSED_STREAM, SETTINGS, SYN_REPLY, SYN_STREAM,
                  VERSIONS, WINDOW, Language, Peer, data)
from socketio_app import Application
from spdy_site import Place, pattern
from test_programs import run

site = spdy_site.fixture("site")


@pytest.fixture(params=VERSIONS)
def place(site, carrier, request):
    return Place(site, site.folder, carrier, request.param)


@pytest.fixture(params=VERSIONS)
def by_hand(site, request):
    """Where the carrier makes no difference."""
    return Place(site, site.folder, "clear", request.param)


def test_the_first_word_is_the_servers(by_hand):
    """It says what a client may do before it answers anything."""
    peer = by_hand.peer()
    assert [frame.kind for frame in peer.frames][:1] == [SETTINGS] and peer.frames[-1].kind == PING
    entry = peer.frames[0].payload
    assert entry[:12] == (b"\0\0\0\x01\x04\0\0\0\0\0\0\x64" if by_hand.version == "2" else b"\0\0\0\x02\0\0\0\x04\0\0\0\x64")


def test_what_is_under_way_is_finished_when_a_node_says_goaway(place):
    peer = place.peer()
    peer.send(peer.upload(("content-length", "4"), path="/echo"))
    peer.send(peer.head(path="/leave"))
    assert peer.answer(3).body == b"left"
    assert peer.goaway == (3, None if place.version == "2" else 0)
    peer.send(peer.head(path="/late"))
    peer.send(data(1, b"kept", FIN))
    assert peer.answer(1).body == b"kept"
    peer.farewell()
    assert peer.resets == {5: REFUSED_STREAM}
    assert peer.wire.failure is None and not peer.wire.was_reset


def test_pushes_belong_to_the_request_and_end_with_it(by_hand):
    peer = by_hand.peer()
    assert peer.get("/push").body == b"pushed"
    peer.wait(lambda: len(peer.pushed) == 3 and all(peer.answers[stream][0] for stream in peer.pushed), "pushes")
    assert list(peer.pushed) == [2, 4, 6] and {(of, flags & 2) for of, flags, _ in peer.pushed.values()} == {(1, 2)}
    assert [frame.kind for frame in peer.frames if frame.kind in (SYN_STREAM, SYN_REPLY)][0] == SYN_STREAM
    assert bytes(peer.answers[4][2]) == b"w" * 100_000


def test_a_client_that_takes_no_pushes(by_hand):
    peer = by_hand.peer()
    peer.send(peer.speaks.settings((MAX_CONCURRENT_STREAMS, 0)))
    assert peer.get("/push").body == b"pushed"
    peer.ping()
    assert peer.pushed == {} and peer.resets == {}


@pytest.mark.parametrize("version", ["3", "3.1"])
def test_whoever_takes_back_a_request_takes_back_its_pushes(site, version):
    peer = Place(site, site.folder, "clear", version).peer(polite=False)
    # They wait for their windows, and so does the answer.
    peer.send(peer.speaks.settings((INITIAL_WINDOW_SIZE, 3)), peer.head(path="/push"))
    peer.wait(lambda: len(peer.pushed) == 3 and peer.answers[6][0], "pushes")
    peer.send(peer.speaks.reset(1))
    peer.ping()
    # The last one has no body, and was over before.
    assert peer.resets == {2: CANCEL, 4: CANCEL}
    peer.send(peer.speaks.settings((INITIAL_WINDOW_SIZE, WINDOW)))
    assert peer.get().body == b"one GET /"


def test_an_upload_of_any_size_in_spdy_2(site):
    """There a body is sent as fast as it is taken."""
    peer = Place(site, site.folder, "tls", "2").peer()
    sent = pattern(10 * MEBIBYTE)
    peer.wire.write(peer.upload(path="/digest"))
    for at in range(0, len(sent), MEBIBYTE):
        peer.wire.write(data(1, sent[at:at + MEBIBYTE]))
    peer.send(data(1, b"", FIN))
    assert peer.answer(1).body == f"{len(sent)} {hashlib.sha256(sent).hexdigest()}".encode()


def test_a_window_that_only_spdy_3_1_has(site):
    """Whoever says a word about it gets no more than it lets through."""
    peer = Place(site, site.folder, "either", "3.1").peer(polite=False)

    def come():
        return sum(len(body) for _, _, body in peer.answers.values())

    peer.send(peer.speaks.window_update(0, 1), peer.head(path="/bytes?50000"), peer.head(path="/bytes?50000"))
    peer.wait(lambda: come() == WINDOW + 1, "the window's bytes")
    peer.ping()
    assert come() == WINDOW + 1
    peer.send(peer.speaks.window_update(0, 100_000))
    assert peer.answer(1).body == peer.answer(3).body == pattern(50000)


def test_whoever_answers_before_it_opens_its_window(site):
    """As spdylay does, which has to get the window that it knows of in the other direction too."""
    peer = Place(site, site.folder, "either", "3.1").peer(polite=False)
    peer.send(peer.head(path="/bytes?100000"))
    peer.wait(lambda: peer.asked, "a PING of the server's")
    peer.ping()
    peer.send(peer.speaks.window_update(0, WINDOW), peer.speaks.window_update(1, WINDOW))
    assert peer.answer(1).body == pattern(100000)
    sent, at, stream = pattern(3 * MEBIBYTE), 0, peer.next_stream
    peer.send(peer.upload(path="/digest"))
    while at < len(sent):
        peer.wait(lambda: min(peer.window(0), peer.window(stream)) > 0, "room")
        room = min(peer.window(0), peer.window(stream), 16384)
        peer.sent(stream, len(sent[at:at + room]))
        peer.send(data(stream, sent[at:at + room]))
        at += room
    peer.send(data(stream, b"", FIN))
    assert peer.answer(stream).body == f"{len(sent)} {hashlib.sha256(sent).hexdigest()}".encode()


def test_whoever_says_nothing_of_a_window_has_none(site):
    peer = Place(site, site.folder, "either", "3").peer(polite=False)
    peer.send(peer.head(path="/bytes?50000"), peer.head(path="/bytes?50000"))
    assert peer.answer(1).body == peer.answer(3).body == pattern(50000)


@pytest.mark.parametrize("version", ["3", "3.1"])
def test_answers_take_turns_by_priority(site, version):
    """Where windows all open at once the urgent goes first."""
    peer = Place(site, site.folder, "clear", version).peer()
    peer.send(peer.speaks.settings((INITIAL_WINDOW_SIZE, 0)))
    for priority in (7, 3, 0):
        peer.send(peer.syn(peer.speaks.request(path="/bytes?1000"), priority=priority << 5))
    # A node's messages arrive in order: with this answer, all bodies are there.
    assert peer.get(method="HEAD").status == 200
    peer.send(peer.speaks.settings((INITIAL_WINDOW_SIZE, WINDOW)))
    for stream in (1, 3, 5):
        assert peer.answer(stream).body == pattern(1000)
    assert [frame.stream for frame in peer.frames if frame.kind == 0] == [5, 3, 1]


@pytest.mark.parametrize("address, version", [(2, "2"), (2, "3"), (1, "2")], ids=["none, 2", "none, 3", "3, 2"])
def test_spdy_where_it_is_not_spoken(site, address, version):
    mark, speaks = site.mark(), Language(version)
    wire = Wire(int(Place.port(site.http[address])))
    wire.write(speaks.syn_stream(1, speaks.compress(speaks.block(speaks.request()))))
    assert wire.wait_for_end().startswith(b"HTTP/1.1 400 ")
    site.log("client-refused", after=mark, cause="head-malformed")


def test_what_is_offered_by_alpn(site):
    def chosen(port, *offered):
        return Wire(int(Place.port(port)), certificates.client(offered)).tls.selected_alpn_protocol()

    spoken, unspoken = site.https
    every = ["http/1.1", "spdy/2", "spdy/3", "spdy/3.1", "h2"]
    assert [chosen(spoken, *every[:n]) for n in range(1, 6)] == every
    assert chosen(unspoken, *every[:4]) == "http/1.1" and chosen(unspoken, *every) == "h2"
    for version in VERSIONS:
        with pytest.raises(ssl.SSLError) as failure:
            chosen(unspoken, f"spdy/{version}")
        assert "no application protocol" in str(failure.value)


def test_heads_without_bodies_and_bodies_without_lengths(by_hand):
    peer = by_hand.peer()
    unchanged = peer.get("/unchanged")
    assert (unchanged.status, unchanged.fields["etag"], unchanged.body) == (304, "x", b"")
    head = peer.get("/x", method="HEAD")
    assert (head.status, head.fields["content-length"], head.body) == (200, "11", b"")
    for path in ("/chunks", "/unframed"):
        answer = peer.get(path)
        assert (answer.status, answer.body) == (200, b"onetwo")
        assert not {"transfer-encoding", "connection"} & set(answer.fields)


def test_interim_answers_are_left_out(by_hand):
    peer = by_hand.peer()
    assert peer.get("/interim").body == b"final"
    peer.send(peer.upload(("content-length", "4"), ("expect", "100-continue"), path="/echo"), data(peer.last, b"text", FIN))
    assert peer.answer(peer.last).body == b"text"


def test_a_websocket_is_not_to_be_had(by_hand):
    """It begins with a field that SPDY forbids, from SPDY/3 on; without it, it is a request as any other."""
    peer = by_hand.peer()
    wishes = [("upgrade", "websocket"), ("sec-websocket-version", "13"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")]
    peer.send(peer.head(("connection", "Upgrade"), *wishes), peer.head(*wishes))
    assert (peer.answer(1).status, peer.answer(3).body) == (200 if by_hand.version == "2" else 400, b"one GET /")


def test_hosts_that_are_not_here(by_hand):
    peer = by_hand.peer()
    assert peer.get(host="elsewhere").status == 421
    assert peer.get().status == 200


@pytest.mark.parametrize("version", VERSIONS)
def test_the_way_to_tls(program, tmp_path, version):
    with spdy_site.served(program, tmp_path, "hsts = 31536000\nhttps-redirect = on") as server:
        moved = Place(server, tmp_path, "clear", version).peer().get("/a?b")
        assert (moved.status, moved.fields["location"]) == (308, f"https://localhost:{server.tls_port}/a?b")
        page = Place(server, tmp_path, "tls", version).peer().get("/a")
        assert (page.body, page.fields["strict-transport-security"]) == (b"one GET /a", "max-age=31536000")


@pytest.mark.parametrize("version", VERSIONS)
def test_behind_a_proxy(program, tmp_path, version):
    """Its header comes before the first frame."""
    ini = spdy_site.INI.replace("\n", "\nbind = 127.0.0.1:0 proxy h2c spdy=2,3,3.1\n", 1)
    certificate, key = certificates.issue(tmp_path, "localhost")
    with Server(program, tmp_path, ini.format(certificate=certificate, key=key, more="")) as server:
        with Node(server, "one", hello).available() as node:
            peer = Peer(Wire(int(Place.port(server.http[1]))), version, b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n")
            assert peer.get().body == b"one GET /"
            assert packet(node.wait(b"uwsgi")[2])["REMOTE_ADDR"] == "192.0.2.7"
            Wire.close_all()


def test_a_recorded_run_replays_equal(program, tmp_path):
    tape = tmp_path / "run.tape"
    with spdy_site.served(program, tmp_path, "", "--tape", tape) as server:
        for carrier, version in (("clear", "2"), ("clear", "3"), ("either", "3"), ("either", "3.1"), ("tls", "3.1")):
            peer = Place(server, tmp_path, carrier, version).peer()
            assert peer.get("/bytes?200000").body == pattern(200_000)
            assert peer.get("/push").body == b"pushed"
            peer.send(peer.upload(path="/digest"), data(peer.last, b"text", FIN))
            assert peer.answer(peer.last).status == 200
    replayed = run(program, "--replay", tape)
    assert (replayed.returncode, "equal" in replayed.stdout + replayed.stderr) == (0, True), replayed


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_under_way_is_finished_at_the_end(program, tmp_path, carrier, version):
    with spdy_site.served(program, tmp_path) as server:
        peer = Place(server, tmp_path, carrier, version).peer()
        peer.send(peer.upload(("content-length", "4"), path="/echo"))
        sid = server.node.wait(b"uwsgi")[0]
        server.process.send_signal(signal.SIGTERM)
        peer.wait(lambda: peer.goaway, "GOAWAY")
        assert peer.goaway == (1, None if version == "2" else 0)
        peer.send(data(1, b"text", FIN))
        assert peer.answer(1).body == b"text"
        peer.farewell()
        assert server.node.wait(b"end", sid=sid)[2] == b"complete"
        assert peer.wire.failure is None and not peer.wire.was_reset


@pytest.mark.parametrize("version", VERSIONS)
def test_socketio_by_polling(program, tmp_path, carrier, version):
    certificate, key = certificates.issue(tmp_path, "localhost")
    with Server(program, tmp_path, spdy_site.INI.format(certificate=certificate, key=key, more="")) as server:
        with Node(server, "one", Application(), capabilities=b"socket.io end-reason errors").available():
            peer = Place(server, tmp_path, carrier, version).peer()
            path = "/socket.io/?EIO=4&transport=polling"
            session = json.loads(peer.get(path).body[1:])["sid"]
            path += f"&sid={session}"

            def say(text):
                peer.send(peer.upload(("content-type", "text/plain"), path=path), data(peer.last, text, FIN))
                return peer.answer(peer.last).body

            assert say(b'40{"token":"x"}') == b"ok"
            heard = peer.get(path).body
            assert heard.startswith(b"40"), heard
            assert say(b'42["echo",1,2]') == b"ok"
            while b"echo" not in heard:
                heard = peer.get(path).body
            assert say(b"1") == b"ok"
            Wire.close_all()
