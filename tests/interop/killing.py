"""Nodes that are killed and restarted under clients of socket.io: python3 killing.py PROGRAM CLIENTS SECONDS

What a node has sent counts as come to the server if a relay between the two has passed on its last byte. The relay outlives
the node, so nothing of that is lost in a kernel.
"""

import collections
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

from blastbeat import PATIENCE, Server

HERE = pathlib.Path(__file__).parent
TICKS = 4

INI = """\
bind = 127.0.0.1:0
zmq = tcp://127.0.0.1:0
ping-freq = 1
sessions = 5000
[blastbeat:*]
node = a
node = b
"""


class Messages:
    """Reads the messages out of one side of a ZMTP connection."""

    def __init__(self):
        self.data, self.parts, self.greeted = bytearray(), [], False

    def feed(self, data):
        self.data += data
        if not self.greeted:
            if len(self.data) < 64:
                return
            self.greeted = True
            del self.data[:64]
        at = 0
        while len(self.data) - at >= 2:
            flags, size, head = self.data[at], self.data[at + 1], 2
            if flags & 2:
                if len(self.data) - at < 9:
                    break
                (size,), head = struct.unpack_from(">Q", self.data, at + 1), 9
            if len(self.data) - at < head + size:
                break
            body = bytes(self.data[at + head:at + head + size])
            at += head + size
            if flags & 4:
                continue
            self.parts.append(body)
            if not flags & 1:
                yield tuple(self.parts)
                self.parts = []
        del self.data[:at]


class Relay:
    """Between nodes and the server; keeps every message that it has passed on whole."""

    def __init__(self, server):
        self.target = server.zmq[0].rsplit(":", 1)
        self.passed, self.lock = [], threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = "tcp://127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                node, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.target)
            for stream in (node, server):
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._to_server, args=(node, server), daemon=True).start()
            threading.Thread(target=self._to_node, args=(server, node), daemon=True).start()

    def _to_server(self, node, server):
        messages = Messages()
        try:
            while data := receive(node):
                server.sendall(data)
                with self.lock:
                    self.passed.extend(messages.feed(data))
            # Not a close: with something unread that would be a reset, which takes back what has come.
            server.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def _to_node(self, server, node):
        with server, node:
            gone = False
            while data := receive(server):
                try:
                    gone or node.sendall(data)
                except OSError:
                    gone = True

    def has_passed(self, ticks, echoes):
        with self.lock:
            return all(len(found) >= least for found, least in zip(said(self.passed), (ticks, echoes)))

    def close(self):
        self.listener.close()


def said(passed):
    """The numbers and the echoes among messages of nodes."""
    ticks, echoes = set(), set()
    for _, kind, body in passed:
        if kind == b"hall:socket.io/event":
            ticks.add("{1} {2}".format(*json.loads(body)))
        elif kind == b"socket.io/event" and body.startswith(b'["echo",') and body[8:9].isdigit():
            echoes.add("{1} {2}".format(*json.loads(body)))
    return ticks, echoes


def receive(stream):
    try:
        return stream.recv(256 * 1024)
    except OSError:
        return b""


class Nodes:
    def __init__(self, server, relay):
        self.server, self.relay, self.processes = server, relay, {}
        for name in "ab":
            self.start(name)

    def start(self, name):
        mark = self.server.mark()
        self.processes[name] = subprocess.Popen(
            [sys.executable, HERE / "socketio_worker.py", self.relay.endpoint, name, str(TICKS)], stdin=subprocess.DEVNULL)
        self.server.log("node-available", after=mark, node=name)

    def kill(self, name):
        mark = self.server.mark()
        process = self.processes[name]
        assert process.poll() is None, f"node {name} has ended by itself"
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.server.log("node-lost", after=mark, node=name)

    def close(self):
        for process in self.processes.values():
            process.kill()
            process.wait()


def play(server, clients, seconds):
    """Returns how often a node was killed, what came to the server from nodes, and what the clients say."""
    relay = Relay(server)
    nodes = Nodes(server, relay)
    crowd = subprocess.Popen(["node", HERE / "socketio_crowd.js", server.url, str(clients)], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True, env=os.environ | {"NODE_PATH": os.environ["BLASTBEAT_NPM"]})
    try:
        assert json.loads(crowd.stdout.readline()) == {"ready": clients}
        with relay.lock:
            relay.passed.clear()
        began, kills = time.monotonic(), 0
        # However slow the machine is, there is something to judge in the end.
        while time.monotonic() - began < seconds or kills < seconds or not relay.has_passed(10, clients):
            next_due = time.monotonic() + 1
            name = "ab"[kills % 2]
            nodes.kill(name)
            nodes.start(name)
            kills += 1
            time.sleep(max(next_due - time.monotonic(), 0))
        # What comes to the server after this may come to clients after their last word.
        with relay.lock:
            passed = list(relay.passed)
        out, _ = crowd.communicate("enough\n", timeout=6 * PATIENCE)
        return kills, passed, json.loads(out)
    finally:
        crowd.kill()
        crowd.wait()
        nodes.close()
        relay.close()


def judge(clients, passed, told):
    """Everything that came to the server came to those it was for, once and in order."""
    assert told["wrong"] == [], told["wrong"][:20]
    ticks, echoes = said(passed)
    came = collections.Counter(told["ticks"])
    partly = {tick: came[tick] for tick in ticks if came[tick] != clients}
    assert partly == {}, f"of {len(ticks)} numbers these came to so many of {clients} clients: {partly}"
    missing = echoes - set(told["echoes"])
    assert not missing, f"of {len(echoes)} echoes these did not come: {sorted(missing)[:20]}"
    return len(ticks), len(echoes)


def main(program, clients, seconds):
    with tempfile.TemporaryDirectory() as folder:
        with Server(program, pathlib.Path(folder), INI) as server:
            kills, passed, told = play(server, int(clients), float(seconds))
            ticks, echoes = judge(int(clients), passed, told)
            print(f"{program}: {clients} clients, {kills} kills: 0 disconnected, {told['visits']} came and went; {ticks} numbers came to all, {echoes} echoes to "
                  f"theirs; {told['sent'] - len(told['echoes'])} of {told['sent']} events towards nodes were lost")


if __name__ == "__main__":
    main(*sys.argv[1:])
