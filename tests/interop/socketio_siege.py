"""Servers of socket.io that are attacked, and clients beside the attack."""

import contextlib
import time

from websockets.exceptions import ConnectionClosed

import siege
from blastbeat import PATIENCE, Node, Server
from frames import Wire
from polling import Client, enter, hear
from socketio_app import Application

INI = """\
bind = 127.0.0.1:0 h2c
zmq = tcp://127.0.0.1:0
ping-freq = 100
linger-timeout = 50
writequeue-buffer = 1m
socketio-max-payload = 100k
socketio-max-packets = 50
socketio-max-attachments = 5
socketio-max-depth = 20
socketio-max-namespaces = 10
engineio = /engine.io/ 4 3
{more}
[blastbeat:localhost]
node = one
[blastbeat:other]
node = one
socketio = /five/ 5
engineio = off
"""


@contextlib.contextmanager
def fortress(program, folder, more="", is_hasty=False):
    with Server(program, folder, INI.format(more=more)) as server:
        with Node(server, "one", Application(), capabilities=b"socket.io end-reason errors").available() as server.node:
            server.is_hasty = is_hasty
            yield server
            Wire.close_all()


HEARTBEATS = "socketio-ping-interval = 100\n"
UPGRADE = "socketio-upgrade-timeout = 100\n"
besieged = siege.besieged("besieged", fortress, HEARTBEATS + UPGRADE)
# They wait for nothing but one thing, so that a slow machine is in time with the rest.
waits_for_no_reader = siege.besieged("waits_for_no_reader", fortress, HEARTBEATS + "write-stall = 0.2")
waits_for_no_upgrade = siege.besieged("waits_for_no_upgrade", fortress, HEARTBEATS + "socketio-upgrade-timeout = 0.2")
# With these the clients beside the attack can be late as well.
waits_for_no_heartbeat = siege.besieged(
    "waits_for_no_heartbeat", fortress, "socketio-ping-interval = 0.2\nsocketio-ping-timeout = 0.2", True)
waits_for_no_namespace = siege.besieged("waits_for_no_namespace", fortress, HEARTBEATS + "socketio-connect-timeout = 0.3", True)
waits_for_no_body = siege.besieged("waits_for_no_body", fortress, HEARTBEATS + "body-timeout = 0.2", True)


class Watch(siege.Account):
    """Two clients beside an attack, who must not notice, and an account of what it costs."""

    socket = polls = None

    def __enter__(self):
        if not self.server.is_hasty:
            self.come()
        self.ask()
        self.open()
        return self

    def come(self):
        self.socket = enter(self.server)
        self.polls = Client(self.server).enter()

    def go(self):
        if self.socket:
            self.socket.close()
        if self.polls:
            self.polls.post("1")
        self.socket = self.polls = None

    def ask(self):
        """A hasty server may have sent them away by now, and may do so while they ask: then they come anew."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if self.server.is_hasty:
                    self.go()
                    self.come()
                return self.talk()
            except (AssertionError, ConnectionClosed):
                if not self.server.is_hasty or time.monotonic() > deadline:
                    raise

    def talk(self):
        self.socket.send('42["echo","beside"]')
        assert hear(self.socket) == '42["echo","beside"]'
        assert self.polls.post('42["echo","beside"]').body == "ok"
        assert self.polls.hear('42["echo","beside"]') == ['42["echo","beside"]']

    def named(self, *causes):
        """Waits for the line in the log that tells why: for any of these causes."""
        self.server.log(None, after=self.mark, which=lambda line: line.fields.get("cause") in causes)

    def __exit__(self, kind, value, trace):
        try:
            if kind is None:
                self.ask()
                self.settle()
        finally:
            self.go()


def closing(client):
    """Reads a WebSocket to its end: the code."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            client.recv(PATIENCE)
    return client.protocol.close_code
