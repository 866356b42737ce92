"""Nodes on libzmq."""

import contextlib
import http.client
import socket
import threading

import zmq

from blastbeat import PATIENCE, Echo, Node, hello, packet, response
from conftest import ONE_HOST


def get(server, path="/", method="GET", body=None, headers=(), port=None):
    """One request on a connection of its own: status, fields, body."""
    connection = http.client.HTTPConnection("127.0.0.1", port or server.port, timeout=PATIENCE)
    try:
        chunked = "Transfer-Encoding" in dict(headers)
        connection.request(method, path, body=body, headers=dict(headers), encode_chunked=chunked)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_a_request_is_answered(start):
    server = start()
    with Node(server, "one", hello).available() as node:
        assert get(server, "/a?b=c")[::2] == (200, b"one GET /a?b=c")
        sid, _, body = node.wait(b"uwsgi")
        assert len(sid) == 16
        request = packet(body)
        remote_port, request_id = request.pop("REMOTE_PORT"), request.pop("REQUEST_ID")
        assert remote_port.isdigit() and len(request_id) == 16 and int(request_id, 16)
        assert request == {
            "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/a", "QUERY_STRING": "b=c",
            "SERVER_NAME": "127.0.0.1", "SERVER_PORT": str(server.port), "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": f"127.0.0.1:{server.port}", "HTTP_ACCEPT_ENCODING": "identity",
            "REQUEST_URI": "/a?b=c", "REQUEST_SCHEME": "http",
        }
        assert node.wait(b"end", sid=sid) == (sid, b"end", b"")


def test_a_new_node_is_pinged_and_told_to_spawn_once(start):
    server = start(ONE_HOST.replace("ping-freq = 100", "ping-freq = 0.5"))
    with Node(server, "one", hello, announce=False) as node:
        node.wait(b"spawn")
        assert node.messages[:2] == [(b"", b"ping", b""), (b"", b"spawn", b"")]
        node.available()
    server.log("node-lost", node="one")
    with Node(server, "one", hello, announce=False).available(nth=1) as again:
        again.wait(b"ping", nth=2)
        assert [kind for _, kind, _ in again.messages] == [b"ping"] * len(again.messages)


def test_ipc(start, tmp_path):
    server = start(ONE_HOST.replace("zmq = tcp://127.0.0.1:0", f"zmq = ipc://{tmp_path}/nodes"))
    assert server.endpoint == f"ipc://{tmp_path}/nodes"
    with Node(server, "one", hello).available():
        assert get(server)[::2] == (200, b"one GET /")


PLAIN = ONE_HOST.replace("zmq =", "node-password = one secret\nnode-password = two other\nzmq =")


def test_plain_with_the_right_password(start):
    server = start(PLAIN)
    with Node(server, "one", hello, password="secret").available():
        assert get(server)[::2] == (200, b"one GET /")


def test_plain_with_a_wrong_password_is_refused_for_good(start):
    server = start(PLAIN)
    with Node(server, "one", password="other") as node:
        node.monitored(zmq.EVENT_HANDSHAKE_FAILED_AUTH, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
        server.log("node-refused", cause="credentials-refused")
        assert get(server)[0] == 503


def test_a_node_without_the_wanted_mechanism_does_not_get_in(start):
    server = start(PLAIN)
    with Node(server, "one") as node:
        # libzmq reads our greeting, sees that it cannot agree, and hangs up before it has sent all of its own.
        node.monitored(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
        assert get(server)[0] == 503
        assert node.messages == []


def test_a_password_where_none_is_wanted_does_not_get_in(start):
    server = start()
    with Node(server, "one", password="secret") as node:
        node.monitored(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
        assert get(server)[0] == 503
        assert node.messages == []


class Relay:
    """Stands between a node and the server, and keeps what the server says."""

    def __init__(self, server):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"
        self.said, self.changed = b"", threading.Condition()
        host, port = server.zmq[0].rsplit(":", 1)
        self._start(lambda: self._meet((host, int(port))))

    def _start(self, work):
        threading.Thread(target=work, daemon=True).start()

    def _meet(self, address):
        node, _ = self.listener.accept()
        server = socket.create_connection(address)
        self._start(lambda: self._pass(node, server))
        self._pass(server, node, self._keep)

    def _pass(self, source, sink, look=lambda data: None):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                look(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def _keep(self, data):
        with self.changed:
            self.said += data
            self.changed.notify_all()

    def wait(self, words, times):
        with self.changed:
            assert self.changed.wait_for(lambda: self.said.count(words) >= times, PATIENCE), self.said

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


def test_heartbeats_of_libzmq_are_answered(start):
    server = start()
    with Relay(server) as relay, Node(server, "one", hello, heartbeat=50, endpoint=relay.endpoint).available():
        relay.wait(b"\4PONG", times=5)
        assert get(server)[::2] == (200, b"one GET /")
        assert not [line for line in server.lines if line.name == "node-lost"]


def test_a_node_comes_back_by_itself_when_the_server_was_away(start):
    first = start()
    address, port = first.zmq[0], first.port
    with Node(first, "one", hello).available() as node:
        first.stop()
        second = start(ONE_HOST.replace("zmq = tcp://127.0.0.1:0", f"zmq = tcp://{address}")
                       .replace("bind = 127.0.0.1:0", f"bind = 127.0.0.1:{port}"))
        node.server = second
        node.available()
        assert get(second)[::2] == (200, b"one GET /")


def test_an_unknown_identity_is_held_and_closed_without_an_error(start):
    server = start()
    with Node(server, "stranger") as node:
        server.log("node-refused", identity="stranger", cause="identity-unknown")
        event = node.monitored(zmq.EVENT_DISCONNECTED, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
                               zmq.EVENT_HANDSHAKE_FAILED_AUTH, zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)
        assert event in (zmq.EVENT_DISCONNECTED, zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)
        server.log("node-refused", identity="stranger", nth=1)
        assert node.messages == []


def test_a_duplicate_identity_waits_outside_and_gets_in_when_the_first_has_gone(start):
    server = start()
    first = Node(server, "one", hello).available()
    with Node(server, "one", lambda node, sid, kind, body: hello(node, sid, kind, body)) as second:
        server.log("node-refused", identity="one", cause="identity-duplicate")
        assert get(server)[::2] == (200, b"one GET /")
        assert second.messages == []
        first.close()
        second.wait(b"ping")
        second.available(nth=1)
        assert get(server)[::2] == (200, b"one GET /")
        second.wait(b"uwsgi")


def test_a_large_upload_comes_back(start):
    server = start()
    body = bytes(range(256)) * 20_000
    with Node(server, "one", Echo()).available():
        status, fields, back = get(server, method="POST", body=body)
        assert (status, fields["Content-Length"]) == (200, str(len(body)))
        assert back == body


def test_a_large_chunked_upload_comes_back(start):
    server = start()
    pieces = [bytes([n]) * 100_000 for n in range(30)]
    with Node(server, "one", Echo(), capabilities=b"body-end").available():
        status, fields, back = get(server, method="POST", body=iter(pieces), headers={"Transfer-Encoding": "chunked"})
        assert (status, fields["Transfer-Encoding"]) == (200, "chunked")
        assert back == b"".join(pieces)


def test_one_message_of_many_megabytes(start):
    server = start()
    text = b"0123456789abcdef" * 400_000

    def large(node, sid, kind, body):
        if kind == b"uwsgi":
            node.reply(sid, b"headers", response(text))
            node.reply(sid, b"body", text)

    with Node(server, "one", large).available():
        assert get(server)[2] == text


def test_a_pool_by_pattern_shares_the_work(start):
    server = start(ONE_HOST.replace("node = two", "node = web-*"))
    pool = [Node(server, f"web-{n}").available() for n in range(3)]
    try:
        answers = []
        clients = [threading.Thread(target=lambda: answers.append(get(server)[2])) for _ in range(12)]
        for client in clients:
            client.start()
        for node in pool:
            node.wait(b"uwsgi", nth=3)
        for node in pool:
            for sid in [sid for sid, kind, _ in node.messages if kind == b"uwsgi"]:
                node.send(sid, b"headers", response(node.identity))
                node.send(sid, b"body", node.identity)
        for client in clients:
            client.join(PATIENCE)
        assert sorted(answers) == [b"web-0"] * 4 + [b"web-1"] * 4 + [b"web-2"] * 4
    finally:
        for node in pool:
            node.close()


def test_the_server_dials_a_node_and_again_when_it_comes_back(start):
    with Node(None, "one", hello, endpoint="tcp://127.0.0.1:*", bind=True, announce=False) as node:
        endpoint = node.bound
        server = start(ONE_HOST.replace("zmq = tcp://127.0.0.1:0", f"zmq-connect = {endpoint}"))
        node.server = server
        node.available()
        assert get(server)[::2] == (200, b"one GET /")
    server.log("node-lost", node="one")
    with Node(server, "one", hello, endpoint=endpoint, bind=True, announce=False).available(nth=1):
        assert get(server)[::2] == (200, b"one GET /")


def test_requests_of_a_dead_node_go_to_another(start):
    server = start()
    one = Node(server, "one").available()
    answers = []
    client = threading.Thread(target=lambda: answers.append(get(server, "/kept")))
    client.start()
    one.wait(b"uwsgi")
    with Node(server, "two", hello).available() as two:
        one.close()
        client.join(PATIENCE)
        assert answers[0][::2] == (200, b"two GET /kept")
        assert packet(two.wait(b"uwsgi")[2])["REDISPATCHED"] == "1"


def test_a_post_of_a_dead_node_is_not_repeated(start):
    server = start()
    one = Node(server, "one").available()
    answers = []
    client = threading.Thread(target=lambda: answers.append(get(server, method="POST", body=b"once")))
    client.start()
    one.wait(b"body")
    with Node(server, "two", hello).available() as two:
        one.close()
        client.join(PATIENCE)
        assert answers[0][0] == 502
        assert b"node-lost" in answers[0][2]
        assert [kind for _, kind, _ in two.messages if kind == b"uwsgi"] == []


def test_retry_takes_the_body_along(start):
    server = start()

    def refuse(node, sid, kind, body):
        if kind == b"body":
            node.reply(sid, b"retry")

    with Node(server, "one", refuse).available() as one, Node(server, "two", Echo()).available() as two:
        for text in (b"first", b"second"):
            assert get(server, method="POST", body=text)[::2] == (200, text)
        assert len([1 for _, kind, _ in two.messages if kind == b"uwsgi"]) == 2
        assert one.failure is None


def test_multiparts_of_a_wrong_length_are_dropped_whole(start):
    server = start()
    with Node(server, "one", hello).available() as node:
        for parts in ([b"", b"pong"], [b"x"] * 8, [b"lonely"]):
            with node.commands:
                node.waker.send_multipart(parts)
        for nth in range(3):
            server.log("message-dropped", node="one", cause="parts-wrong", nth=nth)
        assert get(server)[::2] == (200, b"one GET /")


def test_a_stop_lets_a_request_finish_and_tells_the_node(start):
    server = start()
    with Node(server, "one").available() as node:
        answers = []
        client = threading.Thread(target=lambda: answers.append(get(server)))
        client.start()
        sid = node.wait(b"uwsgi")[0]
        server.process.terminate()
        server.log("draining")
        node.send(sid, b"headers", response(b"late"))
        node.send(sid, b"body", b"late")
        client.join(PATIENCE)
        assert answers[0][::2] == (200, b"late")
        node.wait(b"end", sid=sid)
        server.stop()


def test_a_download_by_credit_costs_no_memory(start):
    server = start()
    total, piece = 64 * 1024 * 1024, bytes(64 * 1024)
    left, credit = {}, {}

    def pump(node, sid):
        while left[sid] and credit[sid] >= len(piece):
            node.reply(sid, b"body", piece)
            credit[sid] -= len(piece)
            left[sid] -= len(piece)

    def handle(node, sid, kind, body):
        if kind == b"uwsgi":
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total
            left[sid] = total
            credit[sid] = credit.get(sid, 0) - len(head)
            node.reply(sid, b"headers", head)
        elif kind == b"credit":
            credit[sid] = credit.get(sid, 0) + int(body)
        if sid in left:
            pump(node, sid)

    with Node(server, "one", handle, capabilities=b"credit").available():
        before = server.memory()
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        connection.request("GET", "/")
        answer = connection.getresponse()
        got, most = 0, before
        while data := answer.read(1024 * 1024):
            got += len(data)
            most = max(most, server.memory())
        connection.close()
        assert got == total
        assert most - before < 8 * 1024 * 1024


def test_a_node_that_floods_a_slow_client_costs_that_client_only(start):
    server = start("writequeue-buffer = 1048576\n" + ONE_HOST)

    def flood(node, sid, kind, body):
        if kind != b"uwsgi":
            return
        if packet(body)["PATH_INFO"] != "/flood":
            return hello(node, sid, kind, body)
        node.reply(sid, b"headers", b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
        for _ in range(512):
            node.reply(sid, b"body", bytes(64 * 1024))

    with Node(server, "one", flood).available() as node, server.connect() as slow:
        slow.sendall(b"GET /flood HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        sid = node.wait(b"uwsgi")[0]
        node.wait(b"end", sid=sid)
        server.log("access", cause="slow-client", sid=sid.hex())
        assert get(server, "/after")[::2] == (200, b"one GET /after")


def test_a_kept_connection_stays_with_its_node(start):
    server = start()
    with Node(server, "one", hello).available() as one, Node(server, "two", hello).available() as two:
        nodes = [one, two]
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        bodies = []
        for n in range(3):
            connection.request("GET", f"/{n}")
            bodies.append(connection.getresponse().read().split()[0])
        connection.close()
        assert len(set(bodies)) == 1
        stayed = nodes[[node.identity for node in nodes].index(bodies[0])]
        sids = [sid for sid, kind, _ in stayed.messages if kind == b"uwsgi"]
        assert len(sids) == len(set(sids)) == 3
