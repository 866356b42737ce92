"""The real clients of socket.io, of each generation and by each transport, in front of nodes that know all of it and of
nodes that know events alone."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time
from collections import Counter

import pytest

from blastbeat import PATIENCE, Node, Server, packet
from socketio_app import Application, Packet, PlainApplication

HERE = pathlib.Path(__file__).parent
IDLE = 11.5
"""Seconds: longer than a heartbeat and its answer may take together."""
TRANSPORTS = ("polling", "websocket", "upgrade")

INI = """\
bind = 127.0.0.1:0
zmq = tcp://127.0.0.1:0
ping-freq = 100
socketio-ping-interval = 1
socketio-ping-timeout = 10
[blastbeat:127.0.0.1]
node = full
[blastbeat:localhost]
node = plain
"""


def npm(script, *arguments):
    """Runs a script of node and returns what it printed."""
    return run(["node", HERE / script, *arguments], NODE_PATH=os.environ["BLASTBEAT_NPM"])


def run(command, **environment):
    done = subprocess.run([*map(str, command)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=6 * PATIENCE, check=False, env=os.environ | environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@contextlib.contextmanager
def serving(program, folder, ini=INI, capabilities=b"socket.io end-reason errors"):
    with Server(program, folder, ini) as server:
        with Node(server, "full", Application(), capabilities=capabilities).available() as server.node, \
                Node(server, "plain", PlainApplication(), capabilities=b"end-reason errors").available() as server.plain:
            yield server


@pytest.fixture(scope="module", params=["blastbeat-mio", "blastbeat-smol"])
def server(request, tmp_path_factory):
    with serving(request.param, tmp_path_factory.mktemp("clients")) as server:
        yield server


class Watch:
    """What the nodes of a server hear while clients run. All sessions have to end, and no node may have done wrong."""

    def __init__(self, server):
        self.nodes = [server.node, server.plain]

    def __enter__(self):
        self.marks = [len(node.messages) for node in self.nodes]
        return self

    def heard(self, node):
        with node.changed:
            return node.messages[self.marks[self.nodes.index(node)]:]

    def __exit__(self, kind, value, trace):
        if kind is not None:
            return
        deadline = time.monotonic() + PATIENCE
        for node in self.nodes:
            while True:
                heard = self.heard(node)
                begun = Counter(sid for sid, type, _ in heard if type == b"uwsgi")
                ended = Counter(sid for sid, type, _ in heard if type == b"end")
                if begun == ended:
                    break
                assert time.monotonic() < deadline, f"{len(begun)} sessions have begun, {len(ended)} have ended"
                time.sleep(0.02)
            assert set(begun.values()) <= {1}
            assert node.failure is None, node.failure
            assert [body for _, type, body in heard if type == b"error"] == []


def runs(server):
    return [f"{transport},{kind},http://{host}:{server.port}/" for transport in TRANSPORTS
            for kind, host in (("full", "127.0.0.1"), ("plain", "localhost"))]


def judge(results, count):
    """Each run has made all its checks, and each is right."""
    wrong = {(run, name): what for run, checks in results.items() for name, what in checks.items() if what is not True}
    assert wrong == {}
    assert [len(checks) for checks in results.values()] == [count] * len(results)


@pytest.mark.parametrize("generation", [0, 1, 2, 4])
def test_npm(server, generation):
    with Watch(server) as watch:
        wanted = runs(server)
        results = npm("socketio_client.js", generation, *wanted)
        assert list(results) == wanted
        judge(results, 19)
    # By each transport one client went of its own will, and one was sent away.
    assert Counter(body for _, type, body in watch.heard(server.node) if type == b"end") == {
        b"client-closed": len(TRANSPORTS), b"complete": len(TRANSPORTS)}
    left = Counter(Packet.read(body)[:2] for _, type, body in watch.heard(server.node) if type == b"socket.io/disconnect")
    # The oldest end all of it at once, without leaving a namespace first.
    assert left == ({("client namespace disconnect", "/"): len(TRANSPORTS)} if generation else {})
    request = packet(next(body for _, type, body in watch.heard(server.node) if type == b"uwsgi"))
    assert request["PATH_INFO"].startswith("/socket.io/")


@pytest.mark.parametrize("version", ["newest", "4.6"])
def test_python(server, version):
    old = {} if version == "newest" else {"PYTHONPATH": os.environ["BLASTBEAT_SOCKETIO4"]}
    with Watch(server):
        wanted = runs(server)
        results = run([sys.executable, HERE / "socketio_client.py", *wanted], **old)
        assert list(results) == wanted
        judge(results, 13)


def test_one_room_for_every_generation_and_transport(server):
    with Watch(server):
        result = npm("socketio_room.js", server.url, int(IDLE * 1000))
        told = result["told"]
        names = list(told)
        assert len(names) == 11
        greetings = [[name, {"nth": nth}] for nth, name in enumerate(names)]
        modern = [name for name in names if name[0] != "0"]
        for name, what in told.items():
            # The oldest have no binary: it comes to them as text.
            data = {"bytes": [0, 255]} if name in modern else {"base64": True, "data": "AP8="}
            wanted = greetings + [[other, data] for other in modern]
            wanted += [["not to me"]] if name != result["quiet"] else []
            wanted += [["after me"]] if name != result["gone"] else []
            assert what == wanted, name


RECOVERY = INI.replace("[", "socketio-recovery = {seconds}\n[", 1).replace("interval = 1", "interval = 0.3")


def come_back(server, transport, when=lambda: None):
    """Has a client's connection cut, and lets it come back when that is over."""
    command = ["node", HERE / "socketio_recovery.js", f"127.0.0.1:{server.port}", transport]
    with subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                          env=os.environ | {"NODE_PATH": os.environ["BLASTBEAT_NPM"]}) as client:
        try:
            assert json.loads(client.stdout.readline()) == "away"
            when()
            result = json.loads(client.communicate("back\n", timeout=PATIENCE)[0])
        finally:
            client.kill()
    return result


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_client_that_comes_back_finds_what_it_has_missed(program, tmp_path, transport):
    with serving(program, tmp_path, RECOVERY.format(seconds=20)) as server:
        result = come_back(server, transport)
        said = ["before", "missed", "as well", "after"]
        assert (result["recovered"], result["same"]) == ([True, True], [True, True])
        assert (result["told"], result["elsewhere"]) == (said, said)
        # The node has noticed nothing: two clients came, and none went until the end.
        kinds = [type for _, type, _ in server.node.messages]
        assert kinds.count(b"uwsgi") == 2
        assert kinds.count(b"socket.io/connect") == 4
        assert b"end" not in kinds[:len(kinds) - kinds[::-1].index(b"socket.io/event")]


def test_a_client_that_comes_back_too_late_is_a_new_one(program, tmp_path):
    with serving(program, tmp_path, RECOVERY.format(seconds=0.3)) as server:
        result = come_back(server, "websocket", lambda: server.node.wait(b"end"))
        assert (result["recovered"], result["same"]) == ([False, False], [False, False])
        assert result["told"] == result["elsewhere"] == ["before"]
        assert server.node.wait(b"end")[2] == b"recovery-timeout"
        assert [type for _, type, _ in server.node.messages].count(b"uwsgi") == 3
