"""Other clients by TLS: httpx, http2 and ws of node, websockets of Python."""

import asyncio
import json
import os
import pathlib
import subprocess

import httpx
import pytest
from websockets.sync.client import connect

import certificates
from autobahn import echo_node
from blastbeat import PATIENCE, Echo, Node, hello, packet

MEBIBYTE = 1024 * 1024


def run_node(script, *arguments):
    """Runs a script of ours in node, with the packages of the tests, and returns what it prints."""
    done = subprocess.run(["node", pathlib.Path(__file__).with_name(script), *map(str, arguments)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=4 * PATIENCE, check=False,
                          env=os.environ | {"NODE_PATH": os.environ["BLASTBEAT_NPM"]})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
def test_httpx(serving, http2):
    server = serving()

    async def run():
        async with httpx.AsyncClient(http1=not http2, http2=http2, verify=certificates.client(), timeout=PATIENCE,
                                     trust_env=False, base_url=server.tls_url) as client:
            answers = await asyncio.gather(*[client.get(f"/{n}") for n in range(100)])
            assert [answer.text for answer in answers] == [f"one GET /{n}" for n in range(100)]
            assert {answer.http_version for answer in answers} == {"HTTP/2" if http2 else "HTTP/1.1"}
            assert (await client.head("/")).headers["content-length"] == "10"

    with Node(server, "one", hello).available():
        asyncio.run(run())


def test_httpx_streams_both_ways(serving):
    server = serving()

    async def pieces():
        for number in range(64):
            yield bytes([number]) * 50_000

    async def run():
        async with httpx.AsyncClient(http2=True, verify=certificates.client(), timeout=PATIENCE, trust_env=False) as client:
            fields = {"Content-Length": str(64 * 50_000)}
            async with client.stream("POST", server.tls_url, content=pieces(), headers=fields) as answer:
                back = b"".join([piece async for piece in answer.aiter_bytes()])
            assert back == b"".join(bytes([number]) * 50_000 for number in range(64))

    with Node(server, "one", Echo()).available():
        asyncio.run(run())


def test_http2_of_node(serving, tmp_path):
    server = serving()
    echo = Echo()

    def handle(node, sid, kind, body):
        if kind == b"uwsgi" and packet(body).get("HTTP_UPGRADE") == "websocket":
            return
        if kind.startswith(b"websocket/"):
            node.reply(sid, kind, body)
        elif kind == b"uwsgi" and packet(body)["REQUEST_METHOD"] == "GET":
            hello(node, sid, kind, body)
        else:
            echo(node, sid, kind, body)

    with Node(server, "one", handle, capabilities=b"binary").available():
        result = run_node("h2_client.js", server.tls_url, certificates.roots(tmp_path))
    assert result == {"answers": 200, "uploads": 5, "pings": 3, "websockets": 5, "protocol": "h2"}


@pytest.fixture
def echoing(serving):
    server = serving()
    with echo_node(server):
        yield server


def test_websockets_by_tls(echoing):
    url = f"wss://localhost:{echoing.tls_port}/"
    with connect(url, ssl=certificates.client(), max_size=None, open_timeout=PATIENCE, close_timeout=PATIENCE, proxy=None) as client:
        for size in (0, 1, 125, 126, 65535, 65536, 4 * MEBIBYTE):
            for message in ("x" * size, bytes(size)):
                client.send(message)
                assert client.recv(PATIENCE) == message
        assert client.ping().wait(PATIENCE)
        client.close(4000, "done")
        assert client.protocol.close_rcvd.code == 4000


def test_ws_of_npm_by_tls(echoing, tmp_path):
    os.environ["NODE_EXTRA_CA_CERTS"] = str(certificates.roots(tmp_path))
    try:
        result = run_node("ws_client.js", f"wss://localhost:{echoing.tls_port}/", "off")
    finally:
        del os.environ["NODE_EXTRA_CA_CERTS"]
    assert result["wrong"] == [] and result["right"] >= 10
