"""A node in a process of its own, to be killed: python3 socketio_worker.py ENDPOINT NAME TICKS

Serves as socketio_app.py does, and TICKS times a second tells a room a number.
"""

import os
import sys
import time

import zmq

from socketio_app import Application, Packet

CAPABILITIES = b"socket.io"


class Worker:
    def __init__(self, endpoint, name, ticks):
        self.socket = zmq.Context().socket(zmq.DEALER)
        self.socket.setsockopt(zmq.IDENTITY, name.encode())
        self.socket.setsockopt(zmq.SNDHWM, 0)
        self.socket.setsockopt(zmq.RCVHWM, 0)
        self.socket.connect(endpoint)
        self.name, self.every = f"{name} {os.getpid()}", 1 / float(ticks)
        self.application = Application()
        self.reply(b"", b"pong", CAPABILITIES)

    def reply(self, sid, kind, body=b""):
        self.socket.send_multipart([sid, kind, body])

    def run(self):
        number, due = 0, None
        while True:
            wait = None if due is None else max(due - time.monotonic(), 0) * 1000
            if self.socket.poll(wait):
                sid, kind, body = self.socket.recv_multipart()
                if kind == b"ping":
                    self.reply(b"", b"pong", CAPABILITIES)
                    # From now on it is known.
                    due = due or time.monotonic() + self.every
                else:
                    self.application(self, sid, kind, body)
            if due is not None and time.monotonic() >= due:
                self.reply(b"", b"hall:socket.io/event", Packet(["tick", self.name, number]).write())
                number, due = number + 1, due + self.every


if __name__ == "__main__":
    Worker(*sys.argv[1:]).run()
