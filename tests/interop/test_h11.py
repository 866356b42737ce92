"""h11, a strict reader of HTTP/1.1, as the client."""

import h11
import pytest

from blastbeat import Echo, Node, hello
from conftest import ONE_HOST


class Client:
    """A connection whose every byte goes through h11."""

    def __init__(self, server):
        self.stream = server.connect()
        self.h11 = h11.Connection(h11.CLIENT)

    def send(self, method, target, headers=(), pieces=()):
        fields = [("Host", "127.0.0.1"), *headers]
        data = self.h11.send(h11.Request(method=method, target=target, headers=fields))
        for piece in pieces:
            data += self.h11.send(h11.Data(data=piece))
        self.stream.sendall(data + self.h11.send(h11.EndOfMessage()))

    def next(self):
        while (event := self.h11.next_event()) is h11.NEED_DATA:
            self.h11.receive_data(self.stream.recv(65536))
        return event

    def response(self):
        """Reads one response to its end: interim statuses, status, fields, body."""
        interim = []
        while isinstance(event := self.next(), h11.InformationalResponse):
            interim.append(event.status_code)
        assert isinstance(event, h11.Response), event
        body = b""
        while not isinstance(piece := self.next(), h11.EndOfMessage):
            body += piece.data
        return interim, event.status_code, dict(event.headers), body

    def again(self):
        """Ready for the next request on the same connection; h11 objects unless both sides may."""
        self.h11.start_next_cycle()

    def ended(self):
        """The server has closed and nothing else came."""
        return self.h11.trailing_data == (b"", False) and self.stream.recv(1) == b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()


def answers(*messages):
    """A node that answers each request with these messages."""
    def handle(node, sid, kind, body):
        if kind == b"uwsgi":
            for kind, body in messages:
                node.reply(sid, kind, body)
    return handle


def test_keep_alive(start):
    server = start()
    with Node(server, "one", hello).available(), Client(server) as client:
        for n in range(3):
            client.send("GET", f"/{n}")
            assert client.response()[1::2] == (200, b"one GET /%d" % n)
            client.again()


@pytest.mark.parametrize("messages, status, body", [
    ([(b"headers", b"HTTP/1.1 200 OK\r\n\r\n"), (b"body", b"to the "), (b"body", b"end"), (b"end", b"")], 200,
     b"to the end"),
    ([(b"headers", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), (b"chunk", b"one"), (b"chunk", b"two"),
      (b"chunk", b"")], 200, b"onetwo"),
    ([(b"headers", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), (b"body", b"3\r\nraw\r\n0\r\n\r\n")],
     200, b"raw"),
    ([(b"headers", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbo"), (b"body", b"dy")], 200, b"body"),
    ([(b"headers", b"HTTP/1.1 204 No Content\r\n\r\n")], 204, b""),
    ([(b"headers", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n")], 304, b""),
    ([(b"body", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")], 200, b"hi"),
])
def test_every_framing_keeps_the_connection(start, messages, status, body):
    server = start()
    with Node(server, "one", answers(*messages)).available(), Client(server) as client:
        for _ in range(2):
            client.send("GET", "/")
            assert client.response()[1::2] == (status, body)
            client.again()


def test_head(start):
    server = start()
    with Node(server, "one", answers((b"headers", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"), (b"body", b"body"))
              ).available(), Client(server) as client:
        for _ in range(2):
            client.send("HEAD", "/")
            _, status, fields, body = client.response()
            assert (status, fields[b"content-length"], body) == (200, b"4", b"")
            client.again()


def test_interim_responses(start):
    server = start()
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
    with Node(server, "one", answers((b"headers", hints), (b"headers", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
              ).available(), Client(server) as client:
        client.send("GET", "/")
        assert client.response()[:2] == ([103], 200)


def test_uploads(start):
    server = start()
    with Node(server, "one", Echo(), capabilities=b"body-end").available(), Client(server) as client:
        pieces = [b"a" * 10, b"b" * 70_000, b"c"]
        for framing in [("Content-Length", "70011"), ("Transfer-Encoding", "chunked")]:
            client.send("POST", "/", [framing], pieces)
            assert client.response()[1::2] == (200, b"".join(pieces))
            client.again()


@pytest.mark.parametrize("sent, status, cause", [
    (b"GET / HTTP/1.1\r\n\r\n", 400, "host-missing"),
    (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nA: b\r\n c\r\n\r\n", 400, "line-folding"),
    (b"GET / HTTP/1.1\nHost: 127.0.0.1\n\n", 400, "bare-line-break"),
    (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nA: \0\r\n\r\n", 400, "nul-byte"),
    (b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400,
     "length-with-encoding"),
    (b"GET /%s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % (b"x" * 20_000), 414, "target-too-long"),
    (b"BREW / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 501, "method-unsupported"),
    (b"GET / HTTP/3.0\r\nHost: 127.0.0.1\r\n\r\n", 505, "version-unsupported"),
    (b"GET / HTTP/1.1\r\nHost: elsewhere\r\n\r\n", 404, "host-unknown"),
])
def test_refusals_are_sound_responses(start, sent, status, cause):
    server = start()
    with Node(server, "one", hello).available() as node, Client(server) as client:
        client.h11.send(h11.Request(method="GET", target="/", headers=[("Host", "127.0.0.1")]))
        client.h11.send(h11.EndOfMessage())
        client.stream.sendall(sent)
        _, got, fields, body = client.response()
        assert (got, cause.encode() in body) == (status, True), body
        assert fields[b"content-length"] == str(len(body)).encode()
        if fields.get(b"connection") == b"close":
            assert client.ended()
        assert [message for message in node.messages if message[1] == b"uwsgi"] == []


def test_a_response_cut_by_its_node_is_seen_as_cut(start):
    server = start()
    messages = [(b"headers", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"), (b"body", b"half"), (b"end", b"")]
    with Node(server, "one", answers(*messages)).available(), Client(server) as client:
        client.send("GET", "/")
        with pytest.raises(h11.RemoteProtocolError):
            client.response()
        server.log("access", cause="node-ended", status="200")


def test_an_unsound_head_of_a_node_never_reaches_the_client(start):
    server = start()
    unsound = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
    with Node(server, "one", answers((b"headers", unsound), (b"body", b"hi"))).available(), Client(server) as client:
        client.send("GET", "/")
        _, status, _, body = client.response()
        assert status == 502 and b"response-malformed" in body


def test_pipelined_requests_are_answered_in_order(start):
    server = start(ONE_HOST.replace("ping-freq", "sessions = 100\nping-freq"))
    with Node(server, "one", hello).available(), server.connect() as stream:
        stream.sendall(b"".join(b"GET /%d HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % n for n in range(50)))
        reader = h11.Connection(h11.CLIENT)
        for n in range(50):
            reader.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
            reader.send(h11.EndOfMessage())
            body = b""
            while not isinstance(event := reader.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    reader.receive_data(stream.recv(65536))
                elif isinstance(event, h11.Data):
                    body += event.data
            assert body == b"one GET /%d" % n
            reader.start_next_cycle()
