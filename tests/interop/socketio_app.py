"""The application behind the servers of the socket.io tests, by nodes that know all of it and by nodes that do not."""

import json
import re
from typing import NamedTuple


class Packet(NamedTuple):
    """The body of a message of socket.io: [SIZES-][NAMESPACE,][ID]JSON[ATTACHMENTS]."""

    data: object = None
    namespace: str = "/"
    id: int | None = None
    attachments: tuple = ()

    @classmethod
    def read(cls, body):
        head = re.match(rb"(?:(\d+(?:,\d+)*)-)?(?:(/[^,]*),)?(\d+(?=\[))?", body)
        sizes, namespace, number = head.groups()
        end, attachments = len(body), []
        for size in reversed([int(size) for size in sizes.split(b",")] if sizes else []):
            attachments.insert(0, body[end - size:end])
            end -= size
        text = body[head.end():end]
        return cls(json.loads(text) if text else None, (namespace or b"/").decode(),
                   None if number is None else int(number), tuple(attachments))

    def write(self):
        sizes = ",".join(str(len(attachment)) for attachment in self.attachments)
        text = "".join([f"{sizes}-" if sizes else "", "" if self.namespace == "/" else f"{self.namespace},",
                        "" if self.id is None else str(self.id), "" if self.data is None else write_json(self.data)])
        return text.encode() + b"".join(self.attachments)


def write_json(data):
    # A browser may send half a surrogate pair, and so may we.
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


class Application:
    """On a node with the capability `socket.io`."""

    def __init__(self):
        self.next_id = 0

    def __call__(self, node, sid, kind, body):
        kind = kind.decode()
        if kind == "socket.io/connect":
            self.connect(node, sid, Packet.read(body))
        elif kind == "socket.io/event":
            packet = Packet.read(body)
            self.event(node, sid, packet, *packet.data)
        elif kind == "socket.io/ack":
            packet = Packet.read(body)
            self.emit(node, sid, packet, "answered", *packet.data)
        elif kind.startswith("socket.io/"):
            assert kind == "socket.io/disconnect", kind

    def connect(self, node, sid, packet):
        if packet.namespace == "/nowhere":
            answer, data = b"refuse", {"message": "Invalid namespace"}
        elif packet.namespace == "/secret" and (packet.data or {}).get("token") != "sesame":
            answer, data = b"refuse", {"message": "who are you?", "data": {"code": 7}}
        else:
            answer, data = b"connect", None
        node.reply(sid, b"socket.io/" + answer, Packet(data, packet.namespace).write())
        if answer == b"connect":
            self.emit(node, sid, packet, "auth", packet.data or {})

    def emit(self, node, sid, packet, *event, id=None, route=b""):
        """In the packet's namespace, with its attachments."""
        body = packet._replace(data=event, id=id).write()
        node.reply(sid, route + b"socket.io/event", body)

    def event(self, node, sid, packet, name, *arguments):
        def acknowledge(*answer, attachments=()):
            if packet.id is not None:
                node.reply(sid, b"socket.io/ack", packet._replace(data=answer, attachments=attachments).write())

        match name:
            case "echo" if packet.id is not None:
                acknowledge(*arguments, attachments=packet.attachments)
            case "echo":
                self.emit(node, sid, packet, name, *arguments)
            case "message":
                (message,) = arguments
                kind, text = (b"msg", message) if isinstance(message, str) else (b"json", write_json(message))
                node.reply(sid, b"socket.io/" + kind, text.encode())
            case "ask me":
                self.next_id += 1
                self.emit(node, sid, packet, "question", *arguments, id=self.next_id)
            case "bye":
                node.reply(sid, b"socket.io/disconnect", Packet(None, packet.namespace).write())
            case "end":
                node.reply(sid, b"socket.io/end")
            case "join" | "leave" | "noecho":
                node.reply(sid, name.encode(), arguments[0].encode())
                acknowledge(*arguments)
            case "say":
                room, *rest = arguments
                self.emit(node, sid, packet, "said", *rest, route=room.encode() + b":")
                acknowledge(room)
            case _:
                raise AssertionError(f"an event {name}")


class PlainApplication:
    """On a node that knows events, texts and JSON, and nothing more."""

    def __call__(self, node, sid, kind, body):
        if kind == b"socket.io/event":
            event = json.loads(body)
            name, arguments = event["name"], event["args"]
            assert set(event) == {"name", "args"}
            match name:
                case "echo" | "message":
                    node.reply(sid, kind, write_json(event).encode())
                case "end":
                    node.reply(sid, b"socket.io/end")
                case "join":
                    node.reply(sid, b"join", arguments[0].encode())
                    node.reply(sid, kind, write_json({"name": "joined", "args": arguments}).encode())
                case "say":
                    room, *rest = arguments
                    node.reply(sid, room.encode() + b":" + kind, write_json({"name": "said", "args": rest}).encode())
                case _:
                    raise AssertionError(f"an event {name}")
        elif kind in (b"socket.io/msg", b"socket.io/json"):
            node.reply(sid, kind, body)
        else:
            assert not kind.startswith(b"socket.io/"), kind
