"""The programs under test, started as a user starts them, and the foreign peers that talk to them."""

import contextlib
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import threading
import time

import zmq
import zmq.utils.monitor

PATIENCE = 60.0
"""Seconds that anything may take, on the slowest machine; only a failure waits that long."""

TARGET = pathlib.Path(os.environ["BLASTBEAT_TARGET"])

WORD = re.compile(r'([a-z-]+)=("(?:[^"\\]|\\.)*"|\S*)')


class Line:
    """One line of the log: its name and its fields."""

    def __init__(self, text):
        self.text = text
        words = text.split(" ", 3)
        self.level, self.name = (words + ["", "", ""])[1:3]
        self.fields = {key: value.strip('"') for key, value in WORD.findall(text)}

    def __repr__(self):
        return self.text

    def fits(self, name, fields):
        return name in (None, self.name) and all(self.fields.get(key.replace("_", "-")) == str(value)
                                         for key, value in fields.items())


class Server:
    """A running program with an ini file of its own; ends with the `with` block and must end well."""

    def __init__(self, program, folder, ini, *flags):
        self.lines = []
        self.changed = threading.Condition()
        path = folder / "blastbeat.ini"
        account = f"uid = {os.getuid()}\ngid = {os.getgid()}\n" if os.getuid() == 0 else ""
        path.write_text("[blastbeat]\n" + account + ini)
        self.process = subprocess.Popen([TARGET / program, path, *flags], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        wanted = len(re.findall(r"^(?:bind|bind-ssl|zmq) *=", ini, re.MULTILINE))
        listening = [self.log("listening", after=0, nth=nth) for nth in range(wanted)]
        self.http = [line.fields["address"] for line in listening if line.fields["serves"] == "http"]
        self.https = [line.fields["address"] for line in listening if line.fields["serves"] == "https"]
        self.zmq = [line.fields["address"] for line in listening if line.fields["serves"] == "zmq"]

    def _read(self):
        for raw in self.process.stderr:
            with self.changed:
                self.lines.append(Line(raw.decode("utf-8", "replace").rstrip("\n")))
                self.changed.notify_all()
        with self.changed:
            self.lines.append(None)
            self.changed.notify_all()

    def log(self, name, after=0, nth=0, which=lambda line: True, **fields):
        """Waits for the nth line of that name, or of any, with those fields."""
        deadline = time.monotonic() + PATIENCE
        with self.changed:
            while True:
                found = [line for line in self.lines[after:] if line and line.fits(name, fields) and which(line)]
                if len(found) > nth:
                    return found[nth]
                left = deadline - time.monotonic()
                over = bool(self.lines) and self.lines[-1] is None
                if over or left <= 0 or not self.changed.wait(left) and time.monotonic() >= deadline:
                    raise AssertionError(f"no log line {name} {fields}" + "".join(f"\n  {line}" for line in self.lines))

    def mark(self):
        """Where the log is now, for `after`."""
        with self.changed:
            return len(self.lines)

    @property
    def port(self):
        return int(self.http[0].rsplit(":", 1)[1])

    @property
    def tls_port(self):
        return int(self.https[0].rsplit(":", 1)[1])

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def endpoint(self):
        address = self.zmq[0]
        return address.replace("unix:", "ipc://") if address.startswith("unix:") else "tcp://" + address

    @property
    def tls_url(self):
        return f"https://localhost:{self.tls_port}"

    def connect(self):
        stream = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return stream

    @contextlib.contextmanager
    def standing_still(self):
        """Stops it meanwhile: what is sent to it is there all at once when it goes on, however long that took."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def memory(self):
        """Resident bytes."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024

    def seconds(self):
        """Of CPU that it has used."""
        times = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        """Asks it to drain and waits; it has to end by itself, with 0 and without a panic."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("SIGTERM did not end it" + "".join(f"\n  {line}" for line in self.lines)) from None
        self.reader.join(PATIENCE)
        text = "\n".join(line.text for line in self.lines if line)
        assert "panicked" not in text, text
        assert code == 0, f"exit code {code}\n{text}"

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            self.stop()
        else:
            self.process.kill()
            self.process.wait()


def packet(body):
    """Decodes a uwsgi packet into a dictionary; strict about its lengths."""
    modifier1, size, modifier2 = struct.unpack_from("<BHB", body)
    assert (modifier1, modifier2, size) == (0, 0, len(body) - 4)
    texts, at = [], 4
    while at < len(body):
        (length,) = struct.unpack_from("<H", body, at)
        texts.append(body[at + 2:at + 2 + length].decode("latin-1"))
        at += 2 + length
    assert at == len(body) and len(texts) % 2 == 0
    keys = texts[::2]
    once = [key for key in keys if not key.startswith("HTTP_")]
    assert len(once) == len(set(once)), keys
    return dict(zip(keys, texts[1::2]))


class Node:
    """A node on libzmq in a thread of its own: answers pings, keeps all messages, calls `handle(node, sid, kind, body)`."""

    def __init__(self, server, identity, handle=None, capabilities=b"", endpoint=None, password=None, heartbeat=None,
                 bind=False, announce=True):
        self.server, self.handle, self.capabilities = server, handle, capabilities
        self.identity = identity.encode() if isinstance(identity, str) else identity
        self.messages, self.changed = [], threading.Condition()
        self.failure = None
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.IDENTITY, self.identity)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RECONNECT_IVL, 20)
        if password is not None:
            self.socket.setsockopt(zmq.PLAIN_USERNAME, self.identity)
            self.socket.setsockopt(zmq.PLAIN_PASSWORD, password.encode())
        if heartbeat is not None:
            self.socket.setsockopt(zmq.HEARTBEAT_IVL, heartbeat)
            self.socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, int(PATIENCE * 1000))
        self.monitor = self.socket.get_monitor_socket()
        if bind:
            self.socket.bind(endpoint)
            self.bound = self.socket.getsockopt(zmq.LAST_ENDPOINT).decode().rstrip("\0")
        else:
            self.socket.connect(endpoint or server.endpoint)
        self.wake = self.context.socket(zmq.PAIR)
        self.wake.bind(f"inproc://wake-{id(self)}")
        self.waker = self.context.socket(zmq.PAIR)
        self.waker.connect(f"inproc://wake-{id(self)}")
        self.commands = threading.Lock()
        if announce:
            self.socket.send_multipart([b"", b"pong", capabilities])
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        poller = zmq.Poller()
        poller.register(self.socket, zmq.POLLIN)
        poller.register(self.wake, zmq.POLLIN)
        try:
            while True:
                ready = dict(poller.poll())
                if self.wake in ready:
                    command = self.wake.recv_multipart()
                    if command == [b"stop"]:
                        return
                    self.socket.send_multipart(command)
                if self.socket in ready:
                    self._receive(*self.socket.recv_multipart())
        except Exception as failure:  # seen by whoever waits
            with self.changed:
                self.failure = failure
                self.changed.notify_all()

    def _receive(self, sid, kind, body):
        with self.changed:
            self.messages.append((sid, kind, body))
            self.changed.notify_all()
        if kind == b"ping":
            assert sid == b"" and body == b""
            self.socket.send_multipart([b"", b"pong", self.capabilities])
        elif self.handle:
            self.handle(self, sid, kind, body)

    def reply(self, sid, kind, body=b""):
        """Sends; only from the node's own thread, that is from `handle`."""
        self.socket.send_multipart([sid, kind, body])

    def send(self, sid, kind, body=b""):
        """Sends, from any other thread."""
        with self.commands:
            self.waker.send_multipart([sid, kind, body])

    def wait(self, kind, nth=0, sid=None):
        """Waits for the nth message of that type."""
        deadline = time.monotonic() + PATIENCE
        with self.changed:
            while True:
                found = [message for message in self.messages if message[1] == kind and sid in (None, message[0])]
                if len(found) > nth:
                    return found[nth]
                left = deadline - time.monotonic()
                if self.failure:
                    raise AssertionError("the node failed") from self.failure
                if left <= 0:
                    raise AssertionError(f"no {kind} came; there were {self.messages}")
                self.changed.wait(left)

    def monitored(self, *events):
        """Waits for one of these events of the socket."""
        deadline = time.monotonic() + PATIENCE
        seen = []
        while (left := deadline - time.monotonic()) > 0:
            if self.monitor.poll(int(left * 1000)):
                event = zmq.utils.monitor.recv_monitor_message(self.monitor)["event"]
                seen.append(zmq.Event(event))
                if event in events:
                    return event
        raise AssertionError(f"none of {events} happened, but {seen}")

    def available(self, nth=0):
        """Waits until the server hands requests to it."""
        self.server.log("node-available", node=self.identity.decode(), nth=nth)
        return self

    def close(self):
        if self.thread.is_alive():
            with self.commands:
                self.waker.send(b"stop")
        self.thread.join(PATIENCE)
        self.socket.disable_monitor()
        self.context.destroy(linger=0)
        if self.failure:
            raise AssertionError("the node failed") from self.failure

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def response(body, extra=b""):
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n" % (len(body), extra)


def hello(node, sid, kind, body):
    """Answers every request with its node's name and its target."""
    if kind == b"uwsgi":
        request = packet(body)
        text = f"{node.identity.decode()} {request['REQUEST_METHOD']} {request['REQUEST_URI']}".encode()
        node.reply(sid, b"headers", response(text))
        if request["REQUEST_METHOD"] != "HEAD":
            node.reply(sid, b"body", text)


class Echo:
    """Answers with the request's body, piece by piece, as it comes."""

    def __init__(self):
        self.left = {}

    def __call__(self, node, sid, kind, body):
        if kind == b"uwsgi":
            request = packet(body)
            chunked = request.get("HTTP_TRANSFER_ENCODING") == "chunked"
            self.left[sid] = None if chunked else int(request.get("CONTENT_LENGTH") or 0)
            length = b"" if chunked else b"Content-Length: %d\r\n" % self.left[sid]
            node.reply(sid, b"headers", b"HTTP/1.1 200 OK\r\n" + length + b"\r\n")
        elif kind == b"body" and body:
            node.reply(sid, b"body", body)
        elif kind == b"body" and self.left.get(sid) is None:
            node.reply(sid, b"end")
