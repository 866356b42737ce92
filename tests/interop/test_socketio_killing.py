"""Nodes are killed under clients of socket.io, who must not notice."""

import threading

import pytest

import killing
from blastbeat import PATIENCE, Node, Server
from polling import Client, Request, hear, websocket
from socketio_app import Application


def test_nodes_that_are_killed_under_a_crowd(program, tmp_path):
    with Server(program, tmp_path, killing.INI) as server:
        kills, passed, told = killing.play(server, 50, 3)
        ticks, echoes = killing.judge(50, passed, told)
    assert kills >= 3 and ticks >= 10 and echoes >= 50 and told["visits"] >= 10


class Shy:
    """The first node that is asked for a namespace says nothing; any other serves."""

    def __init__(self):
        self.application, self.asked, self.was_asked = Application(), None, threading.Event()

    def __call__(self, node, sid, kind, body):
        if kind == b"socket.io/connect":
            self.asked = self.asked or node
            self.was_asked.set()
        if node is not self.asked:
            self.application(node, sid, kind, body)


def come_by_polling(server):
    client = Client(server)
    assert client.post("40").body == "ok"
    return lambda: client.hear('42["auth",{}]')[0].startswith("40{")


def come_by_websocket(server):
    client = websocket(server)
    client.recv(PATIENCE)
    client.send("40")
    return lambda: hear(client).startswith("40{")


def come_with_2(server):
    client = Client(server, version=3)
    return lambda: client.get().body.startswith("2:40")


def come_with_0_9(server):
    sid = Request(server, "GET", "/socket.io/1/").answer().body.split(":")[0]
    poll = Request(server, "GET", f"/socket.io/1/xhr-polling/{sid}")
    return lambda: "1::" in poll.answer().body


@pytest.mark.parametrize("come", [come_by_polling, come_by_websocket, come_with_2, come_with_0_9])
def test_a_node_that_dies_before_it_lets_a_client_in(program, tmp_path, come):
    """Nobody will ask again, so another node is asked."""
    shy = Shy()
    with Server(program, tmp_path, killing.INI) as server:
        nodes = [Node(server, name, shy, capabilities=b"socket.io").available() for name in "ab"]
        is_in = come(server)
        assert shy.was_asked.wait(PATIENCE)
        nodes.remove(shy.asked)
        shy.asked.close()
        (other,) = nodes
        sid = other.wait(b"socket.io/connect")[0]
        assert other.wait(b"uwsgi")[0] == sid
        assert is_in()
        other.close()
