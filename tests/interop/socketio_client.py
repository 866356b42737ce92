"""python-socketio, of either generation, as the client: python3 socketio_client.py TRANSPORT,KIND,URL...

The runs go on side by side; prints a line of JSON as socketio_client.js does.
"""

import concurrent.futures
import json
import sys
import threading
import time
from importlib.metadata import version

import engineio.payload
import socketio

# It takes no more in one payload, unless it is told so; servers send what there is.
engineio.payload.Payload.max_decode_packets = 1000

PATIENCE = 60
PING, PONG = 2, 3
NEWEST = version("python-socketio") >= "5"
TRANSPORTS = {"polling": ["polling"], "websocket": ["websocket"], "upgrade": ["polling", "websocket"]}


class Run:
    def __init__(self, way, kind, url):
        self.way, self.kind, self.url = way, kind, url
        self.got, self.changed, self.disconnects = [], threading.Condition(), 0
        self.client = self.make()
        for namespace in ("/", "/custom"):
            for event in ("echo", "answered", "message"):
                self.client.on(event, self.collect(namespace, event), namespace=namespace)
        self.was_let_in = threading.Event()
        self.client.on("connect", self.was_let_in.set)
        self.client.on("question", lambda *arguments: (*arguments, "answer"))
        self.client.on("disconnect", self.went)
        # It tells nobody of heartbeats.
        self.beats, self.take = 0, self.client.eio._receive_packet
        self.client.eio._receive_packet = self.beat
        # It hands each message to a thread of its own, where an attachment may overtake its event.
        trigger = self.client.eio._trigger_event
        self.client.eio._trigger_event = lambda *event, run_async=False, **options: trigger(*event, **options)

    def make(self):
        return socketio.Client(reconnection=False, **({"handle_sigint": False} if NEWEST else {}))

    def collect(self, namespace, event):
        def collect(*arguments):
            with self.changed:
                self.got.append((namespace, event, *arguments))
                self.changed.notify_all()
        return collect

    def went(self, *_):
        self.disconnects += 1

    def beat(self, packet):
        self.take(packet)
        with self.changed:
            self.beats += packet.packet_type == (PING if NEWEST else PONG)
            self.changed.notify_all()

    def wait(self, count=1):
        """Takes the next events."""
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.got) >= count, PATIENCE):
                raise AssertionError(f"only {self.got} came")
            got, self.got = self.got[:count], self.got[count:]
            return got

    def echo(self, *arguments, namespace="/"):
        self.client.emit("echo", arguments, namespace=namespace)
        same(self.wait(), [(namespace, "echo", *arguments)])

    def connect(self):
        namespaces = ["/", "/custom"] if self.kind == "full" else ["/"]
        options = {"auth": {"token": "main"}, "wait_timeout": PATIENCE} if NEWEST else {}
        self.client.connect(self.url, transports=TRANSPORTS[self.way], namespaces=namespaces, **options)
        # The old one does not wait for them, nor for the first.
        assert self.was_let_in.wait(PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while not set(namespaces[1:]) <= set(self.client.namespaces) and time.monotonic() < deadline:
            time.sleep(0.02)

    def the_transport_that_was_asked_for(self):
        same(self.client.transport(), "polling" if self.way == "polling" else "websocket")

    def text(self):
        self.echo("hello")
        self.echo("h\u00e9llo \u20ac \U0001F600 \u2028 \ufffd 1:2::3")
        self.echo({"a": [1, None, {"b": "x"}]}, 42, True)
        self.echo("x" * 60000)

    def message(self):
        self.client.send("as it is")
        same(self.wait(), [("/", "message", "as it is")])

    def binary(self):
        if self.kind == "full":
            self.echo(b"\1\2\xff", {"k": bytes(1000), "deep": [[b"a"]]})
        else:
            self.client.emit("echo", b"\1\2\xff")
            same(self.wait(), [("/", "echo", {"base64": True, "data": "AQL/"})])

    def acknowledgement(self):
        if self.kind == "full":
            same(tuple(self.client.call("echo", ("q", 7), timeout=PATIENCE)), ("q", 7))
            same(self.client.call("echo", {"k": b"\0\xff"}, timeout=PATIENCE), {"k": b"\0\xff"})

    def the_server_asks(self):
        if self.kind == "full":
            self.client.emit("ask me", ("why", [1]))
            same(self.wait(), [("/", "answered", "why", [1], "answer")])

    def order_of_100(self):
        for number in range(100):
            self.client.emit("echo", number)
        same(self.wait(100), [("/", "echo", number) for number in range(100)])

    def a_namespace(self):
        if self.kind == "full":
            self.echo("over there", namespace="/custom")
            self.echo("here")

    def a_namespace_that_there_is_not(self):
        if not NEWEST:
            return
        other = self.make()
        try:
            other.connect(self.url, transports=TRANSPORTS[self.way], namespaces=["/nowhere"], wait_timeout=PATIENCE)
        except socketio.exceptions.ConnectionError:
            return
        other.disconnect()
        raise AssertionError("it was let in")

    def heartbeats(self):
        with self.changed:
            wanted = self.beats + 2
            assert self.changed.wait_for(lambda: self.beats >= wanted, PATIENCE), f"{self.beats} heartbeats"
        self.echo("still here")
        same((self.client.connected, self.disconnects), (True, 0))

    def the_server_ends_it(self):
        self.client.emit("end")
        deadline = time.monotonic() + PATIENCE
        while self.client.connected and time.monotonic() < deadline:
            time.sleep(0.02)
        same((self.client.connected, self.disconnects), (False, 1))

    def the_client_goes(self):
        other = self.make()
        other.connect(self.url, transports=TRANSPORTS[self.way])
        other.disconnect()
        same(other.connected, False)

    def all(self):
        result = {}
        for check in (self.connect, self.the_transport_that_was_asked_for, self.text, self.message, self.binary,
                      self.acknowledgement, self.the_server_asks, self.order_of_100, self.a_namespace,
                      self.a_namespace_that_there_is_not, self.heartbeats, self.the_client_goes, self.the_server_ends_it):
            try:
                check()
                result[check.__name__] = True
            except Exception as problem:  # of any kind: it is told
                result[check.__name__] = repr(problem)[:500]
                if check == self.connect:
                    break
        return result


def same(got, wanted):
    assert got == wanted, f"{str(got)[:200]} instead of {str(wanted)[:200]}"


def main(*runs):
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        results = pool.map(lambda run: Run(*run.split(",")).all(), runs)
        print(json.dumps(dict(zip(runs, results))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
