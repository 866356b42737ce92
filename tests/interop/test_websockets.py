"""WebSocket clients of others: websockets and picows of Python, ws of npm, tungstenite of Rust."""

import asyncio
import itertools
import json
import os
import pathlib
import random
import subprocess

import picows
import pytest
import websockets.asyncio.client
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import CloseCode
from websockets.sync.client import connect

from autobahn import INI, echo_node
from blastbeat import PATIENCE, TARGET, Node, packet
from conftest import ONE_HOST

MEBIBYTE = 1024 * 1024


@pytest.fixture
def echo(start):
    """Starts a server with an echo node behind it."""
    nodes = []

    def echo(deflate="off"):
        server = start(INI.format(deflate=deflate))
        node = echo_node(server)
        node.__enter__()
        nodes.append(node)
        return server

    yield echo
    for node in nodes:
        node.__exit__(None, None, None)


def url(server, path="/"):
    return f"ws://127.0.0.1:{server.port}{path}"


def opened(server, path="/", **options):
    return connect(url(server, path), max_size=None, open_timeout=PATIENCE, close_timeout=PATIENCE, proxy=None, **options)


def test_text_and_binary_of_many_sizes(echo):
    with opened(echo(), compression=None) as client:
        for size in (0, 1, 125, 126, 65535, 65536, MEBIBYTE):
            for message in ("ä" * (size // 2) + "x" * (size % 2), bytes(size)):
                client.send(message)
                assert client.recv(PATIENCE) == message


def test_sixteen_mebibytes(echo):
    message = random.Random(1).randbytes(16 * MEBIBYTE)
    with opened(echo(), compression=None) as client:
        client.send(message)
        assert client.recv(2 * PATIENCE) == message


def test_fragments_and_pings(echo):
    with opened(echo(), compression=None) as client:
        client.send(["Hel", "lo", "", " wörld"])
        assert client.recv(PATIENCE) == "Hello wörld"
        client.send([bytes([n]) * 1000 for n in range(256)])
        assert client.recv(PATIENCE) == b"".join(bytes([n]) * 1000 for n in range(256))
        assert client.ping(b"are you there").wait(PATIENCE)


def test_codes_of_the_client(start):
    server = start()
    with Node(server, "one", capabilities=b"close end-reason").available() as node:
        for nth, (code, reason) in enumerate([(1000, "bye"), (1001, ""), (3000, "ä" * 61), (4999, "last")]):
            with opened(server) as client:
                client.close(code, reason)
                assert client.protocol.close_rcvd.code == code
            sid, _, body = node.wait(b"websocket/close", nth)
            assert body == code.to_bytes(2, "big") + reason.encode()
            assert node.wait(b"end", sid=sid)[2] == b"client-closed"


def test_codes_of_the_node(start):
    def closes(node, sid, kind, body):
        if kind == b"websocket" and body == b"end":
            node.reply(sid, b"end")
        elif kind == b"websocket":
            node.reply(sid, b"websocket/close", int(body).to_bytes(2, "big") + b"so it is")

    server = start()
    with Node(server, "one", closes, capabilities=b"close").available():
        for code in (1000, 1001, 1003, 1008, 1011, 3000, 4000, 4999):
            with opened(server) as client:
                client.send(str(code))
                with pytest.raises((ConnectionClosedError, websockets.exceptions.ConnectionClosedOK)):
                    client.recv(PATIENCE)
                close = client.protocol.close_rcvd
                assert (close.code, close.reason) == (code, "so it is")
        with opened(server) as client:
            client.send("end")
            with pytest.raises(websockets.exceptions.ConnectionClosedOK):
                client.recv(PATIENCE)
            assert client.protocol.close_rcvd.code == CloseCode.NORMAL_CLOSURE


def test_a_node_that_dies_says_come_again(start):
    server = start()
    node = Node(server, "one").available()
    with opened(server) as client:
        node.close()
        with pytest.raises(ConnectionClosedError):
            client.recv(PATIENCE)
        assert client.protocol.close_rcvd.code == CloseCode.SERVICE_RESTART


def test_a_handshake_of_the_node(start):
    def answers(node, sid, kind, body):
        if kind != b"uwsgi":
            return
        if packet(body)["PATH_INFO"] == "/in":
            node.reply(sid, b"headers", b"HTTP/1.1 101 Switching Protocols\r\nSet-Cookie: id=7\r\n"
                                        b"Sec-WebSocket-Protocol: chat.v2\r\n\r\n")
            node.reply(sid, b"websocket", b"welcome")
        else:
            node.reply(sid, b"headers", b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\n\r\nwho?")

    server = start()
    with Node(server, "one", answers, capabilities=b"handshake").available():
        with opened(server, "/in", subprotocols=["chat.v1", "chat.v2"]) as client:
            assert client.subprotocol == "chat.v2"
            assert client.response.headers["Set-Cookie"] == "id=7"
            assert client.recv(PATIENCE) == "welcome"
        with pytest.raises(InvalidStatus) as refused:
            opened(server, "/out")
        assert (refused.value.response.status_code, refused.value.response.body) == (401, b"who?")


def test_origins_and_protocols(start):
    server = start(ONE_HOST + "websocket-origin = https://*.example.org\nwebsocket-protocol = two\n")
    with Node(server, "one").available():
        with opened(server, origin="https://www.example.org", subprotocols=["one", "two"]) as client:
            assert client.subprotocol == "two"
        with pytest.raises(InvalidStatus) as refused:
            opened(server, origin="https://example.net")
        assert refused.value.response.status_code == 403


@pytest.mark.parametrize("deflate", ["on", "context"])
def test_compression_in_all_combinations(echo, deflate):
    server = echo(deflate)
    dice = random.Random(7)
    texts = ["x" * 10, "hello " * 1000, "".join(dice.choices("abcdefgh ", k=20_000))]
    blobs = [b"", bytes(40_000), dice.randbytes(10_000)]
    bits = [None, 9, 15]
    for server_alone, client_alone, server_bits, client_bits in itertools.product(
            [False, True], [False, True], bits, [True, *bits]):
        offer = ClientPerMessageDeflateFactory(server_no_context_takeover=server_alone, client_no_context_takeover=client_alone,
                                               server_max_window_bits=server_bits, client_max_window_bits=client_bits)
        with opened(server, compression=None, extensions=[offer]) as client:
            (extension,) = client.protocol.extensions
            if deflate == "on":
                assert extension.remote_no_context_takeover and extension.local_no_context_takeover
            for message in [*texts, *blobs, texts[1]]:
                client.send(message)
                assert client.recv(PATIENCE) == message, offer
            client.send([texts[2][:100], texts[2][100:]])
            assert client.recv(PATIENCE) == texts[2], offer


def test_a_bomb_is_a_message_that_is_too_large(start):
    server = start(INI.format(deflate="on").replace("access-log", "websocket-max-message = 1m\naccess-log"))
    with echo_node(server), opened(server) as client:
        with pytest.raises(ConnectionClosedError):
            client.send(bytes(64 * MEBIBYTE))
            client.recv(PATIENCE)
        assert client.protocol.close_rcvd.code == CloseCode.MESSAGE_TOO_BIG
        assert server.memory() < 64 * MEBIBYTE


def test_many_at_once(echo):
    server = echo("on")

    async def one(number):
        async with websockets.asyncio.client.connect(url(server), open_timeout=PATIENCE, proxy=None) as client:
            for round in range(5):
                message = f"{number} {round} " + "x" * number
                await client.send(message)
                assert await asyncio.wait_for(client.recv(), PATIENCE) == message

    async def all_of_them():
        await asyncio.gather(*map(one, range(200)))

    asyncio.run(all_of_them())


class Collector(picows.WSListener):
    """Puts fragments together and says when `count` messages have come."""

    def __init__(self, count):
        self.count, self.messages, self.pieces = count, [], []
        self.complete = asyncio.get_running_loop().create_future()

    def on_ws_frame(self, transport, frame):
        if frame.msg_type == picows.WSMsgType.CLOSE:
            self.complete.cancel()
            return
        self.pieces.append(frame.get_payload_as_bytes())
        if frame.fin:
            self.messages.append(b"".join(self.pieces))
            self.pieces.clear()
            if len(self.messages) == self.count:
                self.complete.set_result(self.messages)


def test_picows(echo):
    server = echo()
    sent = [bytes([n % 256]) * (n * 37) for n in range(500)] + [bytes(MEBIBYTE)]

    async def run():
        transport, listener = await picows.ws_connect(lambda: Collector(len(sent) + 1), url(server))
        for message in sent:
            transport.send(picows.WSMsgType.BINARY, message)
        transport.send(picows.WSMsgType.TEXT, b"Hel", fin=False)
        transport.send(picows.WSMsgType.CONTINUATION, b"lo", fin=True)
        messages = await asyncio.wait_for(listener.complete, 2 * PATIENCE)
        transport.send_close(picows.WSCloseCode.OK, b"bye")
        await asyncio.wait_for(transport.wait_disconnected(), PATIENCE)
        return messages

    assert asyncio.run(run()) == [*sent, b"Hello"]


@pytest.mark.parametrize("deflate", ["off", "on", "context"])
def test_ws_of_npm(echo, deflate):
    server = echo(deflate)
    script = pathlib.Path(__file__).with_name("ws_client.js")
    done = subprocess.run(["node", script, url(server), deflate], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=4 * PATIENCE, check=False, env=os.environ | {"NODE_PATH": os.environ["BLASTBEAT_NPM"]})
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["wrong"] == []
    assert result["right"] >= 10


def test_tungstenite_of_rust(echo):
    server = echo()
    done = subprocess.run([TARGET / "examples" / "tungstenite_client", url(server)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=4 * PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
