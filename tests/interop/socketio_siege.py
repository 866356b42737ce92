"""Servers of socket.io that are attacked, and clients beside the attack."""

import contextlib

from websockets.exceptions import ConnectionClosed

import siege
from blastbeat import PATIENCE, Node, Server
from polling import Client, enter, hear
from socketio_app import Application

INI = """\
bind = 127.0.0.1:0
zmq = tcp://127.0.0.1:0
ping-freq = 0.5
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
IMPATIENT = """\
socketio-ping-interval = 0.2
socketio-ping-timeout = 0.2
socketio-connect-timeout = 0.3
socketio-upgrade-timeout = 0.2
body-timeout = 0.2
write-stall = 0.2
"""


@contextlib.contextmanager
def fortress(program, folder, more=""):
    with Server(program, folder, INI.format(more=more)) as server:
        with Node(server, "one", Application(), capabilities=b"socket.io end-reason errors").available() as server.node:
            server.is_impatient = more == IMPATIENT
            yield server


besieged = siege.besieged("besieged", fortress)
# It waits for nobody.
impatient = siege.besieged("impatient", fortress, IMPATIENT)


class Watch(siege.Account):
    """Two clients beside an attack, who must not notice, and an account of what it costs."""

    def __enter__(self):
        self.come()
        self.ask()
        self.open()
        return self

    def come(self):
        self.socket, self.polls = enter(self.server), Client(self.server).enter()

    def go(self):
        self.socket.close()
        self.polls.post("1")

    def ask(self):
        if self.server.is_impatient:
            # It would have sent them away by now, for they answer its heartbeats only while they wait.
            self.go()
            self.come()
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
