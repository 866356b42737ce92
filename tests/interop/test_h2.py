"""hyper-h2 of Python as the client: HTTP/2 in clear text and by TLS, and WebSocket over it with wsproto."""

import signal

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import pytest
import wsproto
import wsproto.events
import wsproto.extensions
from h2.settings import SettingCodes

import certificates
from blastbeat import PATIENCE, Echo, Node, hello, packet, response
from frames import GOAWAY, NO_ERROR, Peer, Wire

INI = """\
bind = 127.0.0.1:0 h2c
bind-ssl = 127.0.0.1:0
certificate = {certificate}
key = {key}
zmq = tcp://127.0.0.1:0
ping-freq = 0.5
{more}
[blastbeat:localhost]
node = one
"""


@pytest.fixture
def serving(start, tmp_path):
    certificate, key = certificates.issue(tmp_path, "localhost")
    return lambda more="": start(INI.format(certificate=certificate, key=key, more=more))


@pytest.fixture(params=["clear", "tls"])
def carrier(request):
    return request.param


class Client:
    """The library on a wire; strict about all that it gets."""

    def __init__(self, server, carrier="clear", initial_window=None, push=False):
        self.scheme = "http" if carrier == "clear" else "https"
        self.wire = Wire(server.port) if carrier == "clear" else Wire(server.tls_port, certificates.client(["h2"]))
        if carrier == "tls":
            assert self.wire.tls.selected_alpn_protocol() == "h2"
        self.library = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.library.local_settings = h2.settings.Settings(client=True, initial_values={
            SettingCodes.ENABLE_PUSH: int(push), SettingCodes.MAX_CONCURRENT_STREAMS: 100,
            SettingCodes.INITIAL_WINDOW_SIZE: 65535 if initial_window is None else initial_window})
        self.events = []
        self.library.initiate_connection()
        self.wait(h2.events.RemoteSettingsChanged)

    def flush(self):
        self.wire.write(self.library.data_to_send())
        self.wire.flush()

    def ask(self, path="/", method="GET", fields=(), end=True, **pseudo):
        """Sends a request's head and returns its stream."""
        stream = self.library.get_next_available_stream_id()
        head = {":method": method, ":scheme": self.scheme, ":authority": "localhost", ":path": path}
        head |= {f":{name}": value for name, value in pseudo.items()}
        self.library.send_headers(stream, [*head.items(), *fields], end_stream=end)
        self.flush()
        return stream

    def upload(self, stream, data, end=True):
        """Sends a body as far and as fast as the windows let it."""
        while data:
            room = min(self.library.local_flow_control_window(stream), self.library.max_outbound_frame_size, len(data))
            if room > 0:
                self.library.send_data(stream, data[:room], end_stream=end and room == len(data))
                data = data[room:]
                self.flush()
            else:
                self.wire.step(PATIENCE)
            self.look()

    def look(self):
        """Takes in what has come."""
        received = bytes(self.wire.received)
        self.wire.received.clear()
        if received:
            for event in self.library.receive_data(received):
                if isinstance(event, h2.events.DataReceived) and self.gives_back:
                    self.library.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                self.events.append(event)
            if not self.wire.has_ended:
                self.flush()

    gives_back = True

    def wait(self, kind, stream=None, nth=0):
        """Waits for the nth event of that kind, on that stream."""
        found = []

        def is_there():
            self.look()
            found[:] = [event for event in self.events
                        if isinstance(event, kind) and stream in (None, getattr(event, "stream_id", None))]
            return len(found) > nth or self.wire.has_ended

        if not is_there():
            self.flush()
            self.wire.wait(is_there, f"{kind.__name__} on {stream}")
        self.look()
        is_there()
        assert len(found) > nth, f"no {kind.__name__} on {stream} among {self.events[-5:]}"
        return found[nth]

    def wait_until(self, is_so):
        def has_come():
            self.look()
            return is_so()

        self.wire.wait(has_come, "more")

    def answer(self, stream):
        """Waits for a whole answer: its status, its fields and its body."""
        self.wait(h2.events.StreamEnded, stream)
        fields = dict(self.wait(h2.events.ResponseReceived, stream).headers)
        return int(fields[":status"]), fields, self.body(stream)

    def body(self, stream):
        return b"".join(event.data for event in self.events
                        if isinstance(event, h2.events.DataReceived) and event.stream_id == stream)

    def get(self, path="/", **options):
        return self.answer(self.ask(path, **options))


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
        client.library.remote_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 1000
        client.library.remote_settings.acknowledge()
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
    text = bytes(range(256)) * (window * 4)

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
        client.wait_until(lambda: client.library.inbound_flow_control_window == 0)
        got = [len(client.body(stream)) for stream in streams]
        assert sum(got) == 65535
        client.library.increment_flow_control_window(100_000)
        client.flush()
        client.wait_until(lambda: client.library.inbound_flow_control_window == 0)
        more = [len(client.body(stream)) - before for stream, before in zip(streams, got)]
        assert sum(more) == 100_000 and min(more) > 30_000
        client.library.increment_flow_control_window(1_000_000)
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


def test_a_node_that_does_not_read_shuts_the_window(serving):
    """Not more than its window is taken of an upload that nobody takes."""
    server = serving("h2-stream-window = 65535\nnode-queue-high = 100k")
    entered = []

    def waits(node, sid, kind, body):
        entered.append(sid)

    with Node(server, "one", waits).available() as node:
        client = Client(server)
        stream = client.ask(method="POST", end=False)
        sid = node.wait(b"uwsgi")[0]
        client.upload(stream, bytes(1_000_000))
        node.send(sid, b"headers", response(b"ok"))
        node.send(sid, b"body", b"ok")
        assert client.answer(stream)[2] == b"ok"


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
        client.library.send_data(stream, b"text")
        client.library.send_headers(stream, [("checksum", "7")], end_stream=True)
        client.flush()
        assert client.answer(stream)[2] == b"text"
        assert b"checksum" not in b"".join(node.messages[-1])


def test_a_request_that_is_taken_back(serving, carrier):
    server = serving()
    with Node(server, "one", capabilities=b"end-reason").available() as node:
        client = Client(server, carrier)
        stream = client.ask()
        sid = node.wait(b"uwsgi")[0]
        client.library.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
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
            client.library.prioritize(1001, weight=weight, depends_on=0, exclusive=True)
        stream = client.library.get_next_available_stream_id()
        client.library.send_headers(stream, [(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", "/")],
                                    end_stream=True, priority_weight=3, priority_depends_on=1001, priority_exclusive=True)
        assert client.answer(stream)[2] == b"one GET /"
        client.library.prioritize(stream, weight=7)
        assert client.get()[0] == 200


def test_pings_are_answered(serving, carrier):
    client = Client(serving(), carrier)
    client.library.ping(b"12345678")
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


class WebSocket:
    """wsproto on a stream."""

    def __init__(self, client, path="/", fields=(), deflate=None):
        assert client.library.remote_settings[SettingCodes.ENABLE_CONNECT_PROTOCOL] == 1
        fields = [("sec-websocket-version", "13"), *fields]
        if deflate:
            fields.append(("sec-websocket-extensions", f"{deflate.name}; {deflate.offer()}"))
        self.client = client
        self.stream = client.ask(path, "CONNECT", fields, end=False, protocol="websocket")
        self.fields = dict(client.wait(h2.events.ResponseReceived, self.stream).headers)
        if deflate:
            deflate.finalize(self.fields["sec-websocket-extensions"])
        self.library = wsproto.connection.Connection(wsproto.ConnectionType.CLIENT, [deflate] if deflate else [])
        self.fed = 0

    def send(self, event):
        self.client.upload(self.stream, self.library.send(event), end=False)

    def wait(self):
        """The next event."""
        while True:
            for event in self.library.events():
                return event
            data = self.client.wait(h2.events.DataReceived, self.stream, self.fed)
            self.fed += 1
            self.library.receive_data(data.data)

    def message(self):
        """The next message, whole."""
        parts = []
        while True:
            parts.append(self.wait())
            if parts[-1].message_finished:
                return type(parts[0].data)().join(part.data for part in parts)


def echo(node, sid, kind, body):
    if kind.startswith(b"websocket/") and kind != b"websocket/close":
        node.reply(sid, kind, body)


def test_websockets_on_streams(serving, carrier):
    server = serving()
    with Node(server, "one", echo, capabilities=b"binary close").available() as node:
        client = Client(server, carrier, initial_window=100_000)
        sockets = [WebSocket(client, f"/{n}") for n in range(5)]
        for socket in sockets:
            assert socket.fields[":status"] == "200" and "sec-websocket-accept" not in socket.fields
            assert not {"connection", "upgrade"} & set(socket.fields)
        request = packet(node.wait(b"uwsgi")[2])
        assert (request["REQUEST_METHOD"], request["HTTP_UPGRADE"], request["PATH_INFO"]) == ("GET", "websocket", "/0")
        for size in (0, 5, 200, 70_000, 500_000):
            for number, socket in enumerate(sockets):
                socket.send(wsproto.events.TextMessage("x" * size))
                socket.send(wsproto.events.BytesMessage(bytes([number]) * size))
            for number, socket in enumerate(sockets):
                assert socket.message() == "x" * size
                assert socket.message() == bytes([number]) * size
        sockets[0].send(wsproto.events.Ping(b"there?"))
        assert sockets[0].wait() == wsproto.events.Pong(b"there?")
        sockets[0].send(wsproto.events.CloseConnection(1000, "bye"))
        close = sockets[0].wait()
        assert isinstance(close, wsproto.events.CloseConnection) and close.code == 1000
        client.wait(h2.events.StreamEnded, sockets[0].stream)
        # The others, and other requests, live on.
        node.handle = lambda *message: (hello(*message), echo(*message))
        assert client.get()[2] == b"one GET /"
        sockets[1].send(wsproto.events.TextMessage("still here"))
        assert sockets[1].message() == "still here"
        # One is taken back: the node is told.
        client.library.reset_stream(sockets[2].stream, h2.errors.ErrorCodes.CANCEL)
        client.flush()
        node.wait(b"end", sid=node.wait(b"uwsgi", 2)[0])


def test_a_websocket_that_its_node_closes(serving):
    server = serving()

    def closes(node, sid, kind, body):
        if kind.startswith(b"websocket"):
            node.reply(sid, b"websocket/close", int(4001).to_bytes(2, "big") + b"enough")

    with Node(server, "one", closes, capabilities=b"close").available():
        client = Client(server)
        socket = WebSocket(client)
        socket.send(wsproto.events.TextMessage("x"))
        close = socket.wait()
        assert (close.code, close.reason) == (4001, "enough")
        socket.send(close.response())
        client.wait(h2.events.StreamEnded, socket.stream)


def test_a_websocket_that_breaks_the_protocol(serving):
    server = serving()
    with Node(server, "one", capabilities=b"end-reason").available() as node:
        client = Client(server)
        socket = WebSocket(client)
        # A frame of a type that there is not.
        client.upload(socket.stream, b"\x83\x80\0\0\0\0", end=False)
        assert socket.wait().code == 1002
        assert node.wait(b"end")[2] == b"frame-malformed"
        client.wait(h2.events.StreamEnded, socket.stream)


def test_a_websocket_with_compression(serving):
    server = serving("websocket-deflate = on")
    with Node(server, "one", echo, capabilities=b"binary").available():
        client = Client(server)
        deflate = wsproto.extensions.PerMessageDeflate(server_no_context_takeover=True, client_no_context_takeover=True)
        socket = WebSocket(client, deflate=deflate)
        for text in ("x" * 100_000, "", "abc" * 77):
            socket.send(wsproto.events.TextMessage(text))
            assert socket.message() == text
        sent = sum(len(event.data) for event in client.events if isinstance(event, h2.events.DataReceived))
        assert sent < 2000


def test_a_websocket_that_is_refused(serving):
    server = serving()

    def refuses(node, sid, kind, body):
        if kind == b"uwsgi":
            node.reply(sid, b"headers", b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\n\r\nwho?")

    with Node(server, "one", refuses, capabilities=b"handshake").available():
        client = Client(server)
        socket = WebSocket(client, fields=[("sec-websocket-protocol", "chat")])
        assert client.answer(socket.stream)[0::2] == (401, b"who?")
        other = client.ask(method="CONNECT", end=False, protocol="connect-udp")
        assert client.answer(other)[0] == 501
