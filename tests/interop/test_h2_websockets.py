"""WebSocket over HTTP/2 (RFC 8441) by hyper-h2 and wsproto of Python."""

import h2.errors
import h2.events
import wsproto
import wsproto.events
import wsproto.extensions
from h2.settings import SettingCodes

from blastbeat import Node, hello, packet
from hyper import Client


class WebSocket:
    """wsproto on a stream."""

    def __init__(self, client, path="/", fields=(), deflate=None):
        assert client.machine.remote_settings[SettingCodes.ENABLE_CONNECT_PROTOCOL] == 1
        fields = [("sec-websocket-version", "13"), *fields]
        if deflate:
            fields.append(("sec-websocket-extensions", f"{deflate.name}; {deflate.offer()}"))
        self.client = client
        self.stream = client.ask(path, "CONNECT", fields, end=False, protocol="websocket")
        self.fields = dict(client.wait(h2.events.ResponseReceived, self.stream).headers)
        if deflate:
            deflate.finalize(self.fields["sec-websocket-extensions"])
        self.machine = wsproto.connection.Connection(wsproto.ConnectionType.CLIENT, [deflate] if deflate else [])
        self.fed = 0

    def send(self, event):
        self.client.upload(self.stream, self.machine.send(event), end=False)

    def wait(self):
        """The next event."""
        while True:
            for event in self.machine.events():
                return event
            data = self.client.wait(h2.events.DataReceived, self.stream, self.fed)
            self.fed += 1
            self.machine.receive_data(data.data)

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
        client.machine.reset_stream(sockets[2].stream, h2.errors.ErrorCodes.CANCEL)
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
