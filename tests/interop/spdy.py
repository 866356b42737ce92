"""SPDY by hand, frame by frame, in each of its versions. Its dictionaries are those of npm."""

import base64
import collections
import functools
import json
import os
import struct
import subprocess
import zlib

from blastbeat import PATIENCE

VERSIONS = ("2", "3", "3.1")

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, NOOP, PING, GOAWAY, HEADERS, WINDOW_UPDATE, CREDENTIAL = range(1, 11)
FIN, UNIDIRECTIONAL = 1, 2
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 4, 7
PROTOCOL_ERROR, INVALID_STREAM, REFUSED_STREAM, UNSUPPORTED_VERSION, CANCEL, INTERNAL_ERROR, FLOW_CONTROL_ERROR = range(1, 8)
STREAM_ALREADY_CLOSED, INVALID_CREDENTIALS = 9, 10
WINDOW = 65536

Frame = collections.namedtuple("Frame", "kind flags stream payload")
Answer = collections.namedtuple("Answer", "status fields body")

SCRIPT = """
const dictionaries = require("spdy-transport/lib/spdy-transport/protocol/spdy/dictionary");
console.log(JSON.stringify(Object.entries(dictionaries).map(([version, bytes]) => [version, bytes.toString("base64")])));
"""


@functools.cache
def dictionaries():
    done = subprocess.run(["node", "--eval", SCRIPT], stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=True,
                          env=os.environ | {"NODE_PATH": os.environ["BLASTBEAT_NPM"]})
    return {version: base64.b64decode(text) for version, text in json.loads(done.stdout)}


def data(stream, payload, flags=0):
    return struct.pack(">II", stream, flags << 24 | len(payload)) + payload


class Language:
    """How a version writes its frames."""

    def __init__(self, version):
        self.version, self.is_old = version, version == "2"
        self.number = int(version[0])
        self.compressor = zlib.compressobj(9, zlib.DEFLATED, 11, 8, zdict=dictionaries()[version])
        self.decompressor = zlib.decompressobj(zdict=dictionaries()[version])

    def control(self, kind, payload=b"", flags=0, length=None):
        """A frame; with a length, one that lies about it."""
        return struct.pack(">HHI", 0x8000 | self.number, kind, flags << 24 | (len(payload) if length is None else length)) + payload

    def numbers(self, kind, *numbers):
        return self.control(kind, struct.pack(f">{len(numbers)}I", *numbers))

    def settings(self, *pairs):
        """In SPDY/2 the numbers of settings go the other way round."""
        entries = [struct.pack("<I" if self.is_old else ">I", setting) + struct.pack(">I", value) for setting, value in pairs]
        return self.control(SETTINGS, struct.pack(">I", len(pairs)) + b"".join(entries))

    def ping(self, number=1):
        return self.numbers(PING, number)

    def reset(self, stream, code=CANCEL):
        return self.numbers(RST_STREAM, stream, code)

    def window_update(self, stream, increment):
        return self.numbers(WINDOW_UPDATE, stream, increment)

    def goaway(self, last=0):
        return self.numbers(GOAWAY, last) if self.is_old else self.numbers(GOAWAY, last, 0)

    def block(self, fields):
        """A header block in clear."""
        number = ">H" if self.is_old else ">I"
        words = [struct.pack(number, len(word)) + word for field in fields for word in map(str.encode, field)]
        return struct.pack(number, len(fields)) + b"".join(words)

    def compress(self, block):
        return self.compressor.compress(block) + self.compressor.flush(zlib.Z_SYNC_FLUSH)

    def syn_stream(self, stream, compressed, flags=FIN, associated=0, priority=0, slot=0, **options):
        return self.control(SYN_STREAM, struct.pack(">IIBB", stream, associated, priority, slot) + compressed, flags, **options)

    def about_a_stream(self, kind, stream, compressed=b"", flags=0):
        """SYN_REPLY or HEADERS."""
        unused = bytes(2) if self.is_old else b""
        return self.control(kind, struct.pack(">I", stream) + unused + compressed, flags)

    def request(self, *extra, path="/", method="GET", host="localhost", scheme="http"):
        """The names of a request's head."""
        head = [("method", method), ("path", path), ("version", "HTTP/1.1"), ("host", host), ("scheme", scheme)]
        if self.is_old:
            return [("url" if name == "path" else name, value) for name, value in head] + [*extra]
        return [(":" + name, value) for name, value in head] + [*extra]

    def read(self, compressed):
        """The names of a compressed block."""
        block = self.decompressor.decompress(compressed)
        width, at, words = (2 if self.is_old else 4), 0, []
        count = int.from_bytes(block[:width], "big")
        at = width
        while at < len(block):
            length = int.from_bytes(block[at:at + width], "big")
            words.append(block[at + width:at + width + length].decode())
            at += width + length
        names = [word.removeprefix(":") for word in words[::2]]
        assert at == len(block) and len(words) == 2 * count and len(names) == len(set(names)), block
        return dict(zip(names, words[1::2]))


class Peer:
    """A client on a wire. Windows are given back only if it is polite; pushed answers stand among the others."""

    answers_pings = True

    def __init__(self, wire, version, greeting=b"", polite=True):
        self.wire, self.polite = wire, polite and version != "2"
        self.speaks = Language(version)
        self.frames = []
        self.answers = {}
        self.pushed = {}
        self.resets = {}
        self.goaway = None
        self.pongs = self.asked = 0
        # What the server takes: on each stream at first, and of what was said since.
        self.initial, self.room = WINDOW, collections.Counter({0: WINDOW})
        self.next_stream = 1
        wire.write(greeting)
        self.ping()

    def send(self, *frames):
        """Sends at once, and looks at what has come meanwhile."""
        self.wire.write(b"".join(frames))
        self.flush()

    def flush(self):
        self.wire.flush()
        self.look()

    def ping(self):
        """Waits until all that was sent has been looked at."""
        before = self.pongs
        self.send(self.speaks.ping())
        self.wait(lambda: self.pongs > before or self.goaway, "answer to a PING")

    def syn(self, fields, flags=FIN, **options):
        """A SYN_STREAM frame of a new stream, which is `last` from then on."""
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        return self.speaks.syn_stream(stream, self.speaks.compress(self.speaks.block(fields)), flags, **options)

    def head(self, *extra, flags=FIN, **options):
        return self.syn(self.speaks.request(*extra, **options), flags)

    def upload(self, *extra, **options):
        return self.head(*extra, method="POST", flags=0, **options)

    @property
    def last(self):
        return self.next_stream - 2

    def get(self, path="/", **options):
        """Asks and waits for the answer."""
        self.send(self.head(path=path, **options))
        return self.answer(self.last)

    def window(self, stream):
        """Bytes that the server takes on a stream, or, of 0, on the connection."""
        return self.room[stream] + (self.initial if stream else 0)

    def sent(self, stream, count):
        """Counts what was sent in both windows."""
        self.room[stream] -= count
        self.room[0] -= count

    def answer(self, stream):
        """Waits for the whole answer on a stream."""
        self.wait(lambda: stream in self.resets or stream in self.answers and self.answers[stream][0], f"stream {stream}")
        is_complete, fields, body = self.answers.get(stream, (False, None, b""))
        assert is_complete, f"stream {stream} was reset with {self.resets[stream]}"
        return Answer(int(fields["status"].split()[0]), fields, bytes(body))

    def farewell(self):
        """Reads up to the end, where a GOAWAY has to stand before: what it says."""
        self.wait(lambda: self.wire.has_ended, "the end")
        assert self.goaway is not None, "no GOAWAY"
        return self.goaway

    def wait(self, is_done, what):
        def has_come():
            self.look()
            return is_done() or self.wire.has_ended

        self.wire.wait(has_come, what)
        self.look()
        assert is_done(), f"the connection ended without {what}: {self.goaway} {self.frames[-5:]}"

    def look(self):
        """Takes in the whole frames that have come."""
        received, at = self.wire.received, 0
        reply = bytearray()
        while len(received) - at >= 8:
            first, rest = struct.unpack_from(">II", received, at)
            flags, length = rest >> 24, rest & 0xffffff
            if len(received) - at < 8 + length:
                break
            payload = bytes(received[at + 8:at + 8 + length])
            if first & 1 << 31:
                assert first >> 16 == 0x8000 | self.speaks.number
                kind = first & 0xffff
                about = 0 if kind in (SETTINGS, PING, GOAWAY) else int.from_bytes(payload[:4], "big")
                self._take_control(Frame(kind, flags, about, payload), reply)
            else:
                self._take_data(Frame(0, flags, first, payload), reply)
            at += 8 + length
        del received[:at]
        if reply and not self.wire.has_ended:
            self.wire.write(reply)

    def _take_control(self, got, reply):
        self.frames.append(got._replace(payload=got.payload[:64]))
        if got.kind == SYN_STREAM:
            fields = self.speaks.read(got.payload[10:])
            self.pushed[got.stream] = (int.from_bytes(got.payload[4:8], "big"), got.flags, fields)
            self.answers[got.stream] = (bool(got.flags & FIN), fields, bytearray())
        elif got.kind == SYN_REPLY:
            fields = self.speaks.read(got.payload[6 if self.speaks.is_old else 4:])
            assert got.stream not in self.answers
            self.answers[got.stream] = (bool(got.flags & FIN), fields, bytearray())
        elif got.kind == HEADERS:
            _, fields, body = self.answers[got.stream]
            fields |= self.speaks.read(got.payload[6 if self.speaks.is_old else 4:])
            self.answers[got.stream] = (bool(got.flags & FIN), fields, body)
        elif got.kind == RST_STREAM:
            self.resets[got.stream] = int.from_bytes(got.payload[4:], "big")
        elif got.kind == PING and int.from_bytes(got.payload, "big") % 2:
            self.pongs += 1
        elif got.kind == PING:
            self.asked += 1
            if self.answers_pings:
                reply += self.speaks.control(PING, got.payload)
        elif got.kind == WINDOW_UPDATE:
            self.room[got.stream] += int.from_bytes(got.payload[4:], "big")
        elif got.kind == SETTINGS:
            self._take_settings(got.payload[4:])
        elif got.kind == GOAWAY:
            assert len(got.payload) == (4 if self.speaks.is_old else 8)
            # In SPDY/2 it does not say why.
            self.goaway = (*struct.unpack(">I", got.payload), None) if self.speaks.is_old else struct.unpack(">II", got.payload)

    def _take_settings(self, entries):
        for setting, value in struct.iter_unpack("<II" if self.speaks.is_old else ">II", entries):
            if setting == INITIAL_WINDOW_SIZE:
                self.initial = value

    def _take_data(self, got, reply):
        self.frames.append(got._replace(payload=got.payload[:64]))
        is_complete, fields, body = self.answers[got.stream]
        assert not is_complete, "data behind the end"
        body += got.payload
        self.answers[got.stream] = (bool(got.flags & FIN), fields, body)
        if self.polite and got.payload:
            reply += self.speaks.window_update(got.stream, len(got.payload))
            if self.speaks.version == "3.1":
                reply += self.speaks.window_update(0, len(got.payload))
