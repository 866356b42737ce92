"""Nodes on the zeromq crate of Rust: a ZMTP implementation that is neither libzmq's nor ours."""

import contextlib
import signal
import subprocess
import threading

from blastbeat import PATIENCE, TARGET, Node, response
from test_pyzmq import get


@contextlib.contextmanager
def crate_node(server, identity):
    node = subprocess.Popen([TARGET / "examples" / "zeromq_node", server.endpoint, identity], stdin=subprocess.DEVNULL)
    try:
        server.log("node-available", node=identity)
        yield node
    finally:
        node.kill()
        node.wait()


def test_requests_are_answered(start):
    server = start()
    with crate_node(server, "one"):
        for n in range(20):
            assert get(server, f"/{n}")[::2] == (200, b"one GET /%d" % n)


def test_it_shares_the_work_with_a_node_on_libzmq(start):
    server = start()
    with crate_node(server, "one") as one, Node(server, "two").available() as two:
        # Neither answers before both have their share.
        one.send_signal(signal.SIGSTOP)
        answers = []
        clients = [threading.Thread(target=lambda: answers.append(get(server)[2].split()[0])) for _ in range(40)]
        for client in clients:
            client.start()
        two.wait(b"uwsgi", nth=19)
        one.send_signal(signal.SIGCONT)
        for sid in [sid for sid, kind, _ in two.messages if kind == b"uwsgi"]:
            two.send(sid, b"headers", response(b"two"))
            two.send(sid, b"body", b"two")
        for client in clients:
            client.join(PATIENCE)
        assert sorted(answers) == [b"one"] * 20 + [b"two"] * 20


def test_its_death_is_noticed_at_once(start):
    server = start()
    with crate_node(server, "one") as node:
        assert get(server)[0] == 200
        node.kill()
        server.log("node-lost", node="one")
        assert get(server)[0] == 503
