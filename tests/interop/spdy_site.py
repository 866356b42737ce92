"""A site that is served by SPDY in all its versions, for the packages of npm and for clients by hand."""

import contextlib
import hashlib
import json
import os
import pathlib
import subprocess

import pytest

import certificates
from blastbeat import PATIENCE, Echo, Node, Server, hello, packet, response
from frames import Wire
from spdy import Peer

SCRIPT = pathlib.Path(__file__).with_name("spdy_client.js")

# In clear text SPDY/3 and SPDY/3.1 begin alike: where both are spoken, the server finds out.
INI = """\
bind = 127.0.0.1:0 h2c spdy=2,3.1
bind = 127.0.0.1:0 spdy=3
bind = 127.0.0.1:0
bind = 127.0.0.1:0 spdy=2,3,3.1
bind-ssl = 127.0.0.1:0 spdy=2,3,3.1
bind-ssl = 127.0.0.1:0
certificate = {certificate}
key = {key}
zmq = tcp://127.0.0.1:0
ping-freq = 100
linger-timeout = 50
drain-timeout = 50
[blastbeat:localhost]
node = one
{more}
[blastbeat:balanced]
node = left
node = right
"""


class Site:
    """A node of many pages."""

    def __init__(self):
        self.echo, self.digests, self.credits, self.left = Echo(), {}, {}, {}

    def __call__(self, node, sid, kind, body):
        request = packet(body) if kind == b"uwsgi" else None
        if kind == b"credit":
            self.credits[sid] = self.credits.get(sid, 0) + int(body)
            self.go_on(node, sid)
        elif kind == b"body" and sid in self.digests:
            self.collect(node, sid, body)
        elif request is None:
            self.echo(node, sid, kind, body)
        elif request["PATH_INFO"] == "/echo":
            self.echo(node, sid, kind, body)
        elif request["PATH_INFO"] == "/digest":
            self.digests[sid] = [0, hashlib.sha256()]
        elif page := getattr(self, request["PATH_INFO"].strip("/").replace("/", "_") or "none", None):
            page(node, sid, request)
        else:
            hello(node, sid, kind, body)

    def collect(self, node, sid, body):
        digest = self.digests[sid]
        if body:
            digest[0] += len(body)
            digest[1].update(body)
        else:
            length, sha256 = self.digests.pop(sid)
            answer(node, sid, f"{length} {sha256.hexdigest()}".encode())

    def bytes(self, node, sid, request):
        """As much as the server takes."""
        self.left[sid] = pattern(int(request["QUERY_STRING"]))
        head = response(self.left[sid])
        self.credits[sid] = self.credits.get(sid, 0) - len(head)
        node.reply(sid, b"headers", head)
        self.go_on(node, sid)

    def go_on(self, node, sid):
        piece = self.left.get(sid, b"")[:max(self.credits[sid], 0)]
        if piece:
            self.left[sid] = self.left[sid][len(piece):]
            self.credits[sid] -= len(piece)
            node.reply(sid, b"body", piece)

    def several(self, node, sid, request):
        fields = b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nVary: x\r\nVary: y\r\nConnection: close\r\nKeep-Alive: timeout=5\r\n"
        node.reply(sid, b"headers", response(b"several", fields))
        node.reply(sid, b"body", b"several")

    def push(self, node, sid, request):
        """Two pushes, and one within the first."""
        push(node, sid, b"/a.css", b"text/css")
        node.reply(sid, b"body", b"a" * 1000)
        push(node, sid, b"/within.png", b"image/png")
        node.reply(sid, b"body", b"w" * 100_000)
        node.reply(sid, b"end")
        node.reply(sid, b"body", b"A" * 1000)
        node.reply(sid, b"end")
        push(node, sid, b"/b.js", b"text/javascript")
        node.reply(sid, b"end")
        answer(node, sid, b"pushed")

    def forever(self, node, sid, request):
        node.reply(sid, b"headers", b"HTTP/1.1 200 OK\r\n\r\n")
        node.reply(sid, b"body", b"first")

    def break_before(self, node, sid, request):
        node.reply(sid, b"end")

    def break_within(self, node, sid, request):
        node.reply(sid, b"headers", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        node.reply(sid, b"body", b"some")
        node.reply(sid, b"end")

    def leave(self, node, sid, request):
        node.reply(sid, b"goaway")
        answer(node, sid, b"left")

    def interim(self, node, sid, request):
        node.reply(sid, b"headers", b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
        answer(node, sid, b"final")

    def unchanged(self, node, sid, request):
        node.reply(sid, b"headers", b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n")

    def chunks(self, node, sid, request):
        node.reply(sid, b"headers", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (b"one", b"two", b""):
            node.reply(sid, b"chunk", piece)

    def unframed(self, node, sid, request):
        node.reply(sid, b"headers", b"HTTP/1.1 200 OK\r\n\r\n")
        node.reply(sid, b"body", b"one")
        node.reply(sid, b"body", b"two")
        node.reply(sid, b"end")

    def silence(self, node, sid, request):
        pass


def pattern(size):
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def answer(node, sid, text):
    node.reply(sid, b"headers", response(text))
    node.reply(sid, b"body", text)


def push(node, sid, url, kind):
    node.reply(sid, b"push", b"HTTP/1.1 200 OK\r\nUrl: %s\r\nContent-Type: %s\r\n\r\n" % (url, kind))


class Place:
    """A server, its node, and where each version is spoken."""

    def __init__(self, server, folder, carrier="clear", version="3.1"):
        self.server, self.folder, self.carrier, self.version = server, folder, carrier, version

    def arguments(self, job, host="localhost"):
        if self.carrier == "tls":
            return ["node", SCRIPT, job, self.version, self.port(self.server.https[0]), host, certificates.roots(self.folder)]
        return ["node", SCRIPT, job, self.version, self.clear_port, host]

    @staticmethod
    def port(address):
        return address.rpartition(":")[2]

    @property
    def clear_port(self):
        return self.port(self.server.http[3 if self.carrier == "either" else 1 if self.version == "3" else 0])

    def run(self, job, host="localhost"):
        """Has the packages of npm do a job, and returns what came of it."""
        done = subprocess.run(list(map(str, self.arguments(job, host))), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=4 * PATIENCE, check=False, env=environment())
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def peer(self, **options):
        if self.carrier == "tls":
            wire = Wire(self.server.tls_port, certificates.client([f"spdy/{self.version}"]))
            assert wire.tls.selected_alpn_protocol() == f"spdy/{self.version}"
        else:
            wire = Wire(int(self.clear_port))
        return Peer(wire, self.version, **options)


def environment():
    return os.environ | {"NODE_PATH": os.environ["BLASTBEAT_NPM"]}


def heard(node, mark, path):
    """The packet of the request for that path that the node has got since then, and its session."""
    with node.changed:
        messages = node.messages[mark:]
    found = [(sid, packet(body)) for sid, kind, body in messages if kind == b"uwsgi"]
    return next((sid, request) for sid, request in found if request["PATH_INFO"] == path)


def mark(node):
    with node.changed:
        return len(node.messages)


@contextlib.contextmanager
def served(program, folder, more="", *flags):
    """The server of a site, with its node."""
    certificate, key = certificates.issue(folder, "localhost", "balanced")
    with Server(program, folder, INI.format(certificate=certificate, key=key, more=more), *flags) as server:
        with Node(server, "one", Site(), capabilities=b"body-end end-reason errors credit").available() as server.node:
            server.folder = folder
            yield server
            assert [body for _, kind, body in server.node.messages if kind == b"error"] == []
            Wire.close_all()


def fixture(name):
    """One server of each program for all tests of a module."""
    @pytest.fixture(scope="module", params=["blastbeat-mio", "blastbeat-smol"], name=name)
    def serve(request, tmp_path_factory):
        with served(request.param, tmp_path_factory.mktemp("spdy")) as server:
            yield server
    return serve
