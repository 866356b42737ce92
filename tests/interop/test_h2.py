"""hyper-h2 of Python as the client: HTTP/2 in clear text and by TLS."""

import signal

import h2.errors
import h2.events
import pytest
from h2.settings import SettingCodes

import certificates
from blastbeat import Echo, Node, hello, packet, response
from frames import GOAWAY, NO_ERROR, Peer, Wire
from hyper import Client


def test_a_page(serving, carrier):
    server = serving()
    with Node(server, "one", hello).available() as node:
        client = Client(server, carrier)
        status, fields, body = client.get("/a?b", fields=[("cookie", "x=1"), ("cookie", "y=2"), ("accept", "a"), ("accept", "b")])
        assert (status, fields["content-length"], body) == (200, str(len(body)), b"one GET /a?b")
        request = packet(node.wait(b"uwsgi")[2])
        assert request["SERVER_PROTOCOL"] == "HTTP/1.1" and request["HTTP2"] == "on"
        assert request["HTTP_HOST"] == "localhost" and request["REQUEST_SCHEME"] == client.scheme
        assert (request["HTTP_COOKIE"], request["HTTP_ACCEPT"]) == ("x=1; y=2", "a, b")
        assert request.get("HTTPS") == ("on" if carrier == "tls" else None)
        assert client.get(method="HEAD") == (200, {":status": "200", "content-length": "10"}, b"")
        assert client.get(authority="elsewhere")[0] == 421


def test_answers_out_of_order(serving, carrier):
    server = serving()
    held = []

    def backwards(node, sid, kind, body):
        if kind == b"uwsgi":
            held.append(sid)
            while len(held) == 50:
                for number, sid in reversed(list(enumerate(held))):
                    node.reply(sid, b"headers", response(b"%03d" % number))
                    node.reply(sid, b"body", b"%03d" % number)
                held.clear()

    with Node(server, "one", backwards).available():
        client = Client(server, carrier)
        streams = [client.ask(f"/{n}") for n in range(50)]
        for number, stream in enumerate(streams):
            assert client.answer(stream)[2] == b"%03d" % number
        ended = [event.stream_id for event in client.events if isinstance(event, h2.events.StreamEnded)]
        assert ended == streams[::-1]


def test_more_requests_at_a_time_than_allowed(serving):
    server = serving("h2-streams = 10")
    with Node(server, "one").available() as node:
        client = Client(server)
        # More than the library would.
        client.machine.remote_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 1000
        client.machine.remote_settings.acknowledge()
        streams = [client.ask(f"/{n}") for n in range(11)]
        refused = client.wait(h2.events.StreamReset, streams[-1])
        assert refused.error_code == h2.errors.ErrorCodes.REFUSED_STREAM
        for nth in range(10):
            sid = node.wait(b"uwsgi", nth)[0]
            node.send(sid, b"headers", response(b"") )
        assert [client.answer(stream)[0] for stream in streams[:-1]] == [200] * 10
        assert sum(message[1] == b"uwsgi" for message in node.messages) == 10


@pytest.mark.parametrize("window", [1, 1000])
def test_a_download_through_a_small_window(serving, window):
    server = serving()
    text = bytes(range(256)) * window

    def sends(node, sid, kind, body):
        if kind == b"uwsgi":
            node.reply(sid, b"headers", response(text))
            node.reply(sid, b"body", text)

    with Node(server, "one", sends).available():
        client = Client(server, initial_window=window)
        assert client.get()[2] == text
        largest = max(len(event.data) for event in client.events if isinstance(event, h2.events.DataReceived))
        assert largest == window


def test_downloads_take_turns(serving):
    """What comes free of the connection's window goes to all that wait for it."""
    server = serving()
    text = b"x" * 300_000

    def sends(node, sid, kind, body):
        if kind == b"uwsgi":
            node.reply(sid, b"headers", response(text))
            node.reply(sid, b"body", text)

    with Node(server, "one", sends).available():
        client = Client(server, initial_window=1_000_000)
        client.gives_back = False
        streams = [client.ask(), client.ask()]
        for stream in streams:
            client.wait(h2.events.ResponseReceived, stream)
        client.wait_until(lambda: client.machine.inbound_flow_control_window == 0)
        got = [len(client.body(stream)) for stream in streams]
        assert sum(got) == 65535
        # A node's messages arrive in order: with this answer, the second's text is there as well.
        assert client.get(method="HEAD")[0] == 200
        for _ in range(6):
            client.machine.increment_flow_control_window(50_000)
            client.flush()
            client.wait_until(lambda: client.machine.inbound_flow_control_window == 0)
        more = [len(client.body(stream)) - before for stream, before in zip(streams, got)]
        assert sum(more) == 300_000 and min(more) > 100_000
        client.machine.increment_flow_control_window(1_000_000)
        client.flush()
        assert [client.answer(stream)[2] for stream in streams] == [text, text]


def test_an_upload_and_its_echo(serving, carrier):
    server = serving()
    body = bytes(range(256)) * 12_000
    with Node(server, "one", Echo()).available() as node:
        client = Client(server, carrier)
        stream = client.ask(method="POST", fields=[("content-length", str(len(body)))], end=False)
        client.upload(stream, body)
        assert client.answer(stream)[2] == body
        assert packet(node.wait(b"uwsgi")[2])["CONTENT_LENGTH"] == str(len(body))


def test_an_upload_through_a_small_window(serving):
    """The window comes back as its bytes are taken, and never more than it."""
    server = serving("h2-stream-window = 65535")
    body = bytes(range(250)) * 4000
    with Node(server, "one", Echo()).available():
        client = Client(server)
        stream = client.ask(method="POST", fields=[("content-length", str(len(body)))], end=False)
        client.upload(stream, body)
        assert client.answer(stream)[2] == body
        given = sum(event.delta for event in client.events
                    if isinstance(event, h2.events.WindowUpdated) and event.stream_id == stream)
        assert len(body) - 65535 <= given <= len(body)


def test_trailers_of_a_request_are_dropped(serving):
    server = serving()
    got = []

    def collects(node, sid, kind, body):
        if kind == b"body" and body:
            got.append(body)
        elif kind == b"body":
            node.reply(sid, b"headers", response(b"".join(got)))
            node.reply(sid, b"body", b"".join(got))

    with Node(server, "one", collects, capabilities=b"body-end").available() as node:
        client = Client(server)
        stream = client.ask(method="POST", fields=[("trailer", "checksum")], end=False)
        client.machine.send_data(stream, b"text")
        client.machine.send_headers(stream, [("checksum", "7")], end_stream=True)
        client.flush()
        assert client.answer(stream)[2] == b"text"
        assert not [kind for _, kind, body in node.messages if kind != b"uwsgi" and b"checksum" in body]


def test_a_request_that_is_taken_back(serving, carrier):
    server = serving()
    with Node(server, "one", capabilities=b"end-reason").available() as node:
        client = Client(server, carrier)
        stream = client.ask()
        sid = node.wait(b"uwsgi")[0]
        client.machine.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        client.flush()
        assert node.wait(b"end", sid=sid)[2] == b"stream-reset"
        # What the node still says to it goes nowhere.
        node.send(sid, b"headers", response(b"late"))
        second = client.ask("/2")
        sid = node.wait(b"uwsgi", 1)[0]
        node.send(sid, b"headers", response(b"x"))
        node.send(sid, b"body", b"x")
        assert client.answer(second)[2] == b"x"


def test_an_answer_that_breaks_off(serving, carrier):
    server = serving()

    def breaks(node, sid, kind, body):
        if kind == b"uwsgi" and packet(body)["PATH_INFO"] == "/break":
            node.reply(sid, b"headers", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
            node.reply(sid, b"body", b"some")
            node.reply(sid, b"end")
        elif kind == b"uwsgi":
            hello(node, sid, kind, body)

    with Node(server, "one", breaks).available():
        client = Client(server, carrier)
        stream = client.ask("/break")
        reset = client.wait(h2.events.StreamReset, stream)
        assert reset.error_code == h2.errors.ErrorCodes.INTERNAL_ERROR
        assert client.get()[2] == b"one GET /"


def test_answers_without_a_length(serving, carrier):
    server = serving()

    def pieces(node, sid, kind, body):
        if kind == b"uwsgi" and packet(body)["PATH_INFO"] == "/chunks":
            node.reply(sid, b"headers", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for piece in (b"one", b"two", b""):
                node.reply(sid, b"chunk", piece)
        elif kind == b"uwsgi":
            node.reply(sid, b"headers", b"HTTP/1.1 200 OK\r\nConnection: close\r\nKeep-Alive: timeout=5\r\n\r\n")
            for piece in (b"one", b"two"):
                node.reply(sid, b"body", piece)
            node.reply(sid, b"end")

    with Node(server, "one", pieces).available():
        client = Client(server, carrier)
        for path in ("/chunks", "/end"):
            assert client.get(path) == (200, {":status": "200"}, b"onetwo")


def test_early_hints(serving):
    server = serving()

    def hints(node, sid, kind, body):
        if kind == b"uwsgi":
            node.reply(sid, b"headers", b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
            hello(node, sid, kind, body)

    with Node(server, "one", hints).available():
        client = Client(server)
        stream = client.ask()
        assert client.answer(stream)[2] == b"one GET /"
        early = dict(client.wait(h2.events.InformationalResponseReceived, stream).headers)
        assert (early[":status"], early["link"]) == ("103", "</a.css>; rel=preload")


@pytest.mark.parametrize("takes", [True, False])
def test_an_answer_to_what_was_not_asked(serving, takes):
    """It is pushed to a client that takes pushes, and announced to others."""
    server = serving()

    def pushes(node, sid, kind, body):
        if kind == b"uwsgi":
            node.reply(sid, b"push", b"HTTP/1.1 200 OK\r\nUrl: /a.css\r\nContent-Length: 3\r\n\r\n")
            node.reply(sid, b"body", b"css")
            node.reply(sid, b"end")
            hello(node, sid, kind, body)

    with Node(server, "one", pushes).available():
        client = Client(server, push=takes)
        stream = client.ask()
        assert client.answer(stream)[2] == b"one GET /"
        if takes:
            pushed = client.wait(h2.events.PushedStreamReceived)
            request = dict(pushed.headers)
            assert (pushed.parent_stream_id, request[":method"], request[":path"]) == (stream, "GET", "/a.css")
            assert client.answer(pushed.pushed_stream_id)[::2] == (200, b"css")
        else:
            early = dict(client.wait(h2.events.InformationalResponseReceived, stream).headers)
            assert (early[":status"], early["link"]) == ("103", "</a.css>; rel=preload")


def test_continue(serving):
    server = serving()
    with Node(server, "one", Echo()).available():
        client = Client(server)
        stream = client.ask(method="POST", fields=[("expect", "100-continue"), ("content-length", "4")], end=False)
        assert dict(client.wait(h2.events.InformationalResponseReceived, stream).headers)[":status"] == "100"
        client.upload(stream, b"text")
        assert client.answer(stream)[2] == b"text"


def test_priorities_mean_nothing(serving):
    server = serving()
    with Node(server, "one", hello).available():
        client = Client(server)
        for weight in (1, 16, 256):
            client.machine.prioritize(1001, weight=weight, depends_on=0, exclusive=True)
        stream = client.machine.get_next_available_stream_id()
        client.machine.send_headers(stream, [(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", "/")],
                                    end_stream=True, priority_weight=3, priority_depends_on=1001, priority_exclusive=True)
        assert client.answer(stream)[2] == b"one GET /"
        client.machine.prioritize(stream, weight=7)
        assert client.get()[0] == 200


def test_pings_are_answered(serving, carrier):
    client = Client(serving(), carrier)
    client.machine.ping(b"12345678")
    assert client.wait(h2.events.PingAckReceived).ping_data == b"12345678"


def test_what_is_under_way_is_finished_at_the_end(serving, carrier):
    # By hand, since the library regards a connection as over once it gets a GOAWAY.
    server = serving()
    with Node(server, "one").available() as node:
        wire = Wire(server.port) if carrier == "clear" else Wire(server.tls_port, certificates.client(["h2"]))
        peer = Peer(wire)
        peer.send(peer.head())
        sid = node.wait(b"uwsgi")[0]
        server.process.send_signal(signal.SIGTERM)
        peer.wait(lambda: peer.goaway, "GOAWAY")
        # Neither side can know yet which of the requests on their way will be served.
        peer.flush()
        node.send(sid, b"headers", response(b"done"))
        node.send(sid, b"body", b"done")
        assert peer.answer(1).body == b"done"
        assert peer.farewell() == (NO_ERROR, "")
        last = [frame.payload for frame in peer.frames if frame.kind == GOAWAY][-1]
        assert int.from_bytes(last[:4], "big") == 1
        assert wire.failure is None and not wire.was_reset


def test_http_1_on_the_same_address(serving, carrier):
    server = serving()
    with Node(server, "one", hello).available():
        wire = Wire(server.port) if carrier == "clear" else Wire(server.tls_port, certificates.client(["http/1.1"]))
        # An upgrade to HTTP/2 is politely ignored.
        wire.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n"
                   b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n")
        answer = wire.wait_for_end()
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"\r\n\r\none GET /")


def test_http_2_where_it_is_not_spoken(start):
    server = start()
    with Node(server, "one", hello).available():
        wire = Wire(server.port)
        wire.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert wire.wait_for_end().startswith(b"HTTP/1.1 505 ")
