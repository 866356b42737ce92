"""What every node needs: a DEALER socket, answers to pings, and requests as dictionaries. The examples share it.

    pip install pyzmq
"""

import argparse
import itertools
import json
import re
import struct

import zmq


class Node:
    """A node of a BlastBeat server. Its name is its ZeroMQ identity, which the server has to know."""

    def __init__(self, endpoint, name, capabilities=b""):
        self.capabilities = capabilities
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.setsockopt(zmq.IDENTITY, name.encode())
        self.socket.setsockopt(zmq.SNDHWM, 0)
        self.socket.connect(endpoint)
        # Said unasked, it makes the node available at once.
        self.send(b"", b"pong", capabilities)

    def send(self, sid, kind, body=b""):
        self.socket.send_multipart([sid, kind, body])

    def messages(self):
        """Yields what the server says, for ever: (session id, type, body)."""
        while True:
            sid, kind, body = self.socket.recv_multipart()
            if kind == b"ping":
                self.send(b"", b"pong", self.capabilities)
            else:
                yield sid, kind, body

    def page(self, sid, html):
        """Answers a request with a page."""
        self.send(sid, b"headers", b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n"
                                   b"Content-Length: %d\r\n\r\n" % len(html))
        self.send(sid, b"body", html)

    def refuse(self, sid, status):
        """Answers a request with a status alone, such as b"404 Not Found"."""
        self.send(sid, b"headers", b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")


def request(packet):
    """A `uwsgi` body as a dictionary, as in WSGI: REQUEST_METHOD, PATH_INFO, QUERY_STRING, HTTP_*, ..."""
    texts, at = [], 4
    while at < len(packet):
        (length,) = struct.unpack_from("<H", packet, at)
        texts.append(packet[at + 2:at + 2 + length].decode("latin-1"))
        at += 2 + length
    return dict(zip(texts[::2], texts[1::2]))


def is_websocket(request):
    return request.get("HTTP_UPGRADE", "").lower() == "websocket"


def packet(body):
    """A socket.io packet, for nodes with the capability `socket.io`: its namespace, its ID (b"" if it has none), its JSON,
    and what stands in the places of {"_placeholder": true, "num": N}."""
    found = re.fullmatch(rb"(?:([\d,]+)-)?(?:(/[^,]*),)?(\d*)(.*)", body, re.DOTALL)
    sizes = [int(size) for size in found[1].split(b",")] if found[1] else []
    ends = list(itertools.accumulate(sizes, initial=len(found[4]) - sum(sizes)))
    attachments = [found[4][start:end] for start, end in zip(ends, ends[1:])]
    return found[2] or b"/", found[3], found[4][:ends[0]], attachments


def parsed(text, otherwise=None):
    """The value of JSON; something else if Python does not take it, such as a number of five thousand digits."""
    try:
        return json.loads(text)
    except ValueError:
        return otherwise


def packed(value, namespace=b"/", number=b"", attachments=()):
    """The counterpart: a value as the body of a socket.io packet."""
    sizes = b",".join(b"%d" % len(each) for each in attachments) + b"-" if attachments else b""
    prefix = b"" if namespace == b"/" else namespace + b","
    return sizes + prefix + number + json.dumps(value).encode() + b"".join(attachments)


def arguments(about, name):
    """Endpoint and name from the command line."""
    parser = argparse.ArgumentParser(description=about.split("\n\n")[0])
    parser.add_argument("endpoint", nargs="?", default="tcp://127.0.0.1:5000", help="where the server awaits nodes")
    parser.add_argument("name", nargs="?", default=name, help="this node's name")
    return parser.parse_args()
