"""The nodes of runtime/examples, run as a user runs them, with real clients."""

import contextlib
import importlib.util
import json
import pathlib
import signal
import subprocess
import sys

import pytest
import socketio
from websockets.sync.client import connect

from blastbeat import PATIENCE
from test_curl import curl

EXAMPLES = pathlib.Path(__file__).parents[2] / "runtime" / "examples"


@contextlib.contextmanager
def example(server, name):
    """An example, run as the node `one`."""
    node = subprocess.Popen([sys.executable, EXAMPLES / name, server.endpoint, "one"], stdin=subprocess.DEVNULL)
    try:
        server.log("node-available", node="one")
        yield node
        assert node.poll() is None, "the example ended by itself"
    finally:
        node.kill()
        node.wait()


def test_packets_of_socketio_round_trip():
    kit = importlib.util.spec_from_file_location("nodekit", EXAMPLES / "nodekit.py")
    nodekit = importlib.util.module_from_spec(kit)
    kit.loader.exec_module(nodekit)
    for body, expected in (
        (b'["say","hello"]', (b"/", b"", b'["say","hello"]', [])),
        (b'/chat,["say"]', (b"/chat", b"", b'["say"]', [])),
        (b'/chat,12["say","2-1"]', (b"/chat", b"12", b'["say","2-1"]', [])),
        (b"12[]", (b"/", b"12", b"[]", [])),
        (b"2,0,3-/a,7[1]ab\n-]", (b"/a", b"7", b"[1]", [b"ab", b"", b"\n-]"])),
        (b'5-["file"]hello', (b"/", b"", b'["file"]', [b"hello"])),
        (b"/admin,", (b"/admin", b"", b"", [])),
        (b"", (b"/", b"", b"", [])),
    ):
        assert nodekit.packet(body) == expected
    for value, namespace, number, attachments in (
        (["say", {"a": None}], b"/", b"", []), ([], b"/chat", b"3", []), (["f"], b"/", b"4", [b"", b"xyz"]),
    ):
        body = nodekit.packed(value, namespace, number, attachments)
        assert nodekit.packet(body) == (namespace, number, json.dumps(value).encode(), attachments)


def opened(server, path="/"):
    return connect(f"ws://127.0.0.1:{server.port}{path}", open_timeout=PATIENCE, close_timeout=PATIENCE, proxy=None)


def test_shared_canvas(start):
    server = start()
    with example(server, "shared_canvas.py"):
        page, (facts,) = curl(server.url)
        assert facts["response_code"] == 200 and b"<canvas>" in page
        strokes = [json.dumps(["red", n, 0, n, 1]) for n in range(10)]
        with opened(server) as one, opened(server) as two:
            for client, stroke in zip((one, two, one, one), strokes):
                client.send(stroke)
                assert one.recv(PATIENCE) == stroke
            assert [two.recv(PATIENCE) for _ in strokes[:4]] == strokes[:4]
            # Who comes later sees the whole picture.
            with opened(server) as three:
                assert [three.recv(PATIENCE) for _ in strokes[:4]] == strokes[:4]
                for stroke in strokes[4:]:
                    three.send(stroke)
                for client in (one, two, three):
                    assert [client.recv(PATIENCE) for _ in strokes[4:]] == strokes[4:]


@contextlib.contextmanager
def chatting(server, name, transport, namespace="/"):
    with socketio.SimpleClient() as client:
        client.connect(server.url, auth={"name": name}, transports=[transport], namespace=namespace, wait_timeout=PATIENCE)
        yield client


def test_socketio_chat(start):
    server = start()
    with example(server, "socketio_chat.py"), chatting(server, "ada", "websocket") as ada, \
            chatting(server, None, "polling") as bob:
        with pytest.raises(socketio.exceptions.ConnectionError), chatting(server, "eve", "polling", "/private"):
            pass
        assert ada.call("join", "kitchen", timeout=PATIENCE) == ("join", "kitchen")
        assert bob.call("join", "kitchen", timeout=PATIENCE) == ("join", "kitchen")
        assert bob.call("join", "a: cell\U0001f511" * 20, timeout=PATIENCE)[0] == "join"
        ada.emit("say", ("kitchen", "hello"))
        for client in (ada, bob):
            assert client.receive(PATIENCE) == ["said", "kitchen", "ada", "hello"]
        bob.emit("say", ("a: cell\U0001f511" * 20, {"half": "\ud83d"}))
        assert bob.receive(PATIENCE) == ["said", "a: cell\U0001f511" * 20, "somebody", {"half": "\ud83d"}]
        assert bob.call("leave", "kitchen", timeout=PATIENCE) == ("leave", "kitchen")
        ada.emit("say", ("kitchen", "anybody?"))
        assert ada.receive(PATIENCE) == ["said", "kitchen", "ada", "anybody?"]
        ada.emit("say", ("a: cell\U0001f511" * 20, "the last word"))
        assert bob.receive(PATIENCE) == ["said", "a: cell\U0001f511" * 20, "ada", "the last word"], "and not the one before"


class Listener:
    """curl -N: what it prints, line by line."""

    def __init__(self, server, name):
        self.process = subprocess.Popen(["curl", "--silent", "--no-buffer", "--noproxy", "*", f"{server.url}/{name}"],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)

    def line(self):
        return self.process.stdout.readline().decode()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def test_peers(start):
    server = start()
    with example(server, "peers.py"), Listener(server, "ada") as ada:
        assert ada.line() == "hello ada\n"
        with Listener(server, "bob") as bob:
            assert bob.line() == "hello bob\n"
            assert ada.line() == "bob is here\n"
            _, (facts,) = curl("--data", "good morning", f"{server.url}/eve")
            assert facts["response_code"] == 204
            assert ada.line() == bob.line() == "eve: good morning\n"
            curl("--data-binary", "@-", f"{server.url}/bob", data=b"x" * 300_000)
            assert ada.line() == bob.line() == "bob: " + "x" * 300_000 + "\n"
        assert ada.line() == "bob has left\n"


def test_video_relay(start):
    server = start()
    with example(server, "video_relay.py") as node:
        assert b"<video" in curl(server.url)[0]
        with opened(server, "/control") as ada, opened(server, "/control") as bob:
            assert json.loads(ada.recv(PATIENCE)) == {"you": 1}
            assert json.loads(bob.recv(PATIENCE)) == {"you": 2}
            ada.send("hi")
            for window in (ada, bob):
                assert json.loads(window.recv(PATIENCE)) == {"from": 1, "text": "hi"}
            with opened(server, "/data") as camera, opened(server, "/data") as screen, opened(server, "/control") as eve:
                # Its number says that the node has dealt with the two before it.
                assert json.loads(eve.recv(PATIENCE)) == {"you": 3}
                # From now on the node is not needed: stopped as it is, every picture still comes.
                node.send_signal(signal.SIGSTOP)
                pictures = [bytes([1]) + bytes([n]) * 30_000 for n in range(50)]
                for picture in pictures:
                    camera.send(picture)
                assert [screen.recv(PATIENCE) for _ in pictures] == pictures
                screen.send(b"\2answer")
                assert camera.recv(PATIENCE) == b"\2answer"
                node.send_signal(signal.SIGCONT)
            for window in (ada, bob):
                assert json.loads(window.recv(PATIENCE)) == {"left": 3}
