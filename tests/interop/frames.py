"""Clients that send what no library would: a wire that may speak TLS, and HTTP/2 on it frame by frame."""

import collections
import select
import socket
import ssl
import struct
import time

import hpack

from blastbeat import PATIENCE

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
INITIAL_WINDOW_SIZE = 4
NO_ERROR, CANCEL, ENHANCE_YOUR_CALM = 0, 8, 11

Frame = collections.namedtuple("Frame", "kind flags stream payload")
Answer = collections.namedtuple("Answer", "status fields body")


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(initial_window):
    return frame(SETTINGS, payload=struct.pack(">HI", INITIAL_WINDOW_SIZE, initial_window))


def window_update(stream, increment):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def reset(stream, code=CANCEL):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


class Wire:
    """A connection that reads while it writes, so that it never waits for a peer that waits for it. With a context it
    speaks TLS, where each write is a record of its own."""

    opened = []

    def __init__(self, port, context=None, name="localhost"):
        self.opened.append(self)
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.received, self.pending = bytearray(), bytearray()
        self.has_ended, self.was_reset, self.failure = False, False, None
        self.tls, self.is_up = None, False
        if context:
            self.encrypted, self.to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
            self.tls = context.wrap_bio(self.encrypted, self.to_send, server_hostname=name)
            try:
                self.wait(self._shake_hands, "the handshake")
            except ssl.SSLError:
                self.flush()
                self.close()
                raise

    def write(self, data):
        """Queues bytes; `flush` sends them."""
        if self.tls:
            self.tls.write(data)
            self.pending += self.to_send.read()
        else:
            self.pending += data

    def flush(self):
        """Sends everything that is queued, unless the peer is gone."""
        self.wait(lambda: not self.pending or self.has_ended, "taking what is sent")

    def read(self, count):
        """The next bytes, fewer only at the end."""
        self.wait(lambda: len(self.received) >= count or self.has_ended, f"{count} bytes")
        taken = bytes(self.received[:count])
        del self.received[:count]
        return taken

    def wait_for_end(self):
        """Reads up to the peer's end and returns what came."""
        self.wait(lambda: self.has_ended, "the end")
        taken = bytes(self.received)
        self.received.clear()
        return taken

    def close(self):
        self.socket.close()

    @classmethod
    def close_all(cls):
        while cls.opened:
            cls.opened.pop().close()

    def step(self, seconds):
        """Waits for the socket once, writes what it takes and reads what it has."""
        readable, writable, _ = select.select([self.socket], [self.socket] if self.pending else [], [], max(seconds, 0))
        if writable:
            try:
                del self.pending[:self.socket.send(self.pending[:256 * 1024])]
            except BlockingIOError:
                pass
            except (ConnectionResetError, BrokenPipeError):
                # What had come before may still be read.
                self.pending.clear()
        if readable:
            try:
                self._take(self.socket.recv(256 * 1024))
            except BlockingIOError:
                pass
            except ConnectionResetError:
                self.pending.clear()
                self.has_ended = self.was_reset = True

    def _take(self, data):
        if not self.tls:
            self.received += data
            self.has_ended |= not data
            return
        self.encrypted.write(data) if data else self.encrypted.write_eof()
        if self.is_up:
            self._decrypt()
            self.has_ended |= not data

    def _decrypt(self):
        try:
            while piece := self.tls.read(256 * 1024):
                self.received += piece
            self.has_ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as failure:
            self.has_ended, self.failure = True, failure
        self.pending += self.to_send.read()

    def _shake_hands(self):
        try:
            self.tls.do_handshake()
            self.is_up = True
            self._decrypt()
        except ssl.SSLWantReadError:
            pass
        finally:
            self.pending += self.to_send.read()
        return self.is_up

    def wait(self, is_done, what):
        deadline = time.monotonic() + PATIENCE
        while not is_done():
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError(f"waited in vain for {what}")
            self.step(left)


class Peer:
    """HTTP/2 on a wire. Answers SETTINGS and PING; windows are given back only if it is polite. Without a greeting it has
    greeted before."""

    def __init__(self, wire, greeting=frame(SETTINGS), polite=True):
        self.wire, self.polite = wire, polite
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.decoder.max_header_list_size = 1 << 20
        self.frames = []
        self.answers = {}
        self.resets = {}
        self.goaway = None
        self.next_stream = 1
        self.block = None
        self.is_settled = False
        if greeting is not None:
            wire.write(PREFACE + greeting)
        # Both sides' SETTINGS are out of the way then, and cannot come between what is sent later.
        self.wait(lambda: self.is_settled or self.goaway, "acknowledgement of SETTINGS")
        self.flush()

    def send(self, *frames):
        """Sends at once, and looks at what has come meanwhile."""
        self.wire.write(b"".join(frames))
        self.flush()

    def flush(self):
        self.wire.flush()
        self.look()

    def head(self, *extra, path="/", method="GET", authority="localhost", flags=END_STREAM | END_HEADERS):
        """A HEADERS frame of a new stream, which is `next_stream - 2` from then on."""
        fields = [(":method", method), (":scheme", "http"), (":authority", authority), (":path", path), *extra]
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        return frame(HEADERS, flags, stream, self.encoder.encode(fields))

    def get(self, path="/", **options):
        """Asks and waits for the answer."""
        self.send(self.head(path=path, **options))
        return self.answer(self.next_stream - 2)

    def answer(self, stream):
        """Waits for the whole answer on a stream."""
        self.wait(lambda: stream in self.resets or stream in self.answers and self.answers[stream][0], f"stream {stream}")
        is_complete, fields, body = self.answers.get(stream, (False, None, b""))
        assert is_complete, f"stream {stream} was reset with {self.resets[stream]} after {fields} and {len(body)} bytes"
        return Answer(int(fields[":status"]), fields, bytes(body))

    def has_answer(self, stream):
        return stream in self.answers and self.answers[stream][0]

    def farewell(self):
        """Waits for the GOAWAY and the end behind it: the code and the words."""
        self.wait(lambda: self.wire.has_ended, "the end")
        assert self.goaway, f"no GOAWAY came; last were {self.frames[-3:]}"
        return self.goaway

    def wait(self, is_done, what):
        deadline = time.monotonic() + PATIENCE
        self.look()
        while not is_done():
            left = deadline - time.monotonic()
            assert left > 0 and not self.wire.has_ended, f"no {what}; {self.goaway}; last were {self.frames[-3:]}"
            self.wire.step(left)
            self.look()

    def look(self):
        """Takes in the whole frames that have come."""
        received, at = self.wire.received, 0
        reply = bytearray()
        while len(received) - at >= 9:
            length = int.from_bytes(received[at:at + 3], "big")
            if len(received) - at < 9 + length:
                break
            kind, flags, stream = struct.unpack_from(">BBI", received, at + 3)
            self._take(Frame(kind, flags, stream, bytes(received[at + 9:at + 9 + length])), reply)
            at += 9 + length
        del received[:at]
        if reply and not self.wire.has_ended:
            self.wire.write(reply)

    def _take(self, got, reply):
        self.frames.append(got._replace(payload=got.payload[:64]))
        if got.kind in (HEADERS, CONTINUATION):
            self._take_head(got)
        elif got.kind == DATA:
            self.answers[got.stream][2].extend(got.payload)
            if self.polite and got.payload:
                for stream in (0, got.stream):
                    reply += window_update(stream, len(got.payload))
        elif got.kind == RST_STREAM:
            self.resets[got.stream] = int.from_bytes(got.payload, "big")
        elif got.kind == SETTINGS and got.flags & ACK:
            self.is_settled = True
        elif got.kind == SETTINGS:
            reply += frame(SETTINGS, ACK)
        elif got.kind == PING and not got.flags & ACK:
            reply += frame(PING, ACK, 0, got.payload)
        elif got.kind == GOAWAY:
            self.goaway = (int.from_bytes(got.payload[4:8], "big"), got.payload[8:].decode())
        if got.kind in (HEADERS, DATA) and got.flags & END_STREAM:
            _, fields, body = self.answers[got.stream]
            self.answers[got.stream] = (True, fields, body)

    def _take_head(self, got):
        self.block = (self.block or b"") + got.payload
        if got.flags & END_HEADERS:
            fields = dict(self.decoder.decode(self.block))
            self.block = None
            if not fields.get(":status", "").startswith("1"):
                self.answers.setdefault(got.stream, (False, fields, bytearray()))
