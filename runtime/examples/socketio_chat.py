"""A chat in rooms by socket.io, for its clients of every generation.

Start the server without arguments, then this; and with `npm install socket.io-client`, in a `node` or two:

    > chat = require("socket.io-client")("http://127.0.0.1:8080", { auth: { name: "ada" } })
    > chat.on("said", console.log)
    > chat.emit("join", "kitchen", console.log)
    > chat.emit("say", "kitchen", "hello")

    python3 runtime/examples/socketio_chat.py [ENDPOINT] [NAME]

A room is a group of the server, and so is a name: a message goes out once, whoever is in the room, by whatever protocol.
"""

import json

from nodekit import Node, arguments, packed, packet, parsed, request


def main():
    options = arguments(__doc__, "chat")
    node = Node(options.endpoint, options.name, b"socket.io")
    names = {}
    for sid, kind, body in node.messages():
        if kind == b"uwsgi":
            if not request(body)["PATH_INFO"].startswith("/socket.io/"):
                node.refuse(sid, b"404 Not Found")
        elif kind == b"socket.io/connect":
            namespace, _, auth, _ = packet(body)
            if namespace == b"/":
                name = parsed(auth, {}).get("name")
                names[sid] = name if isinstance(name, str) else "somebody"
                node.send(sid, b"socket.io/connect")
            else:
                node.send(sid, b"socket.io/refuse", packed({"message": "There is only one chat"}, namespace))
        elif kind == b"socket.io/event":
            _, number, data, _ = packet(body)
            event = parsed(data, [None])
            if event[0] in ("join", "leave") and len(event) == 2:
                room = group(event[1])
                node.send(sid, event[0].encode(), room)
                if number:
                    node.send(sid, b"socket.io/ack", packed([event[0], event[1]], number=number))
            elif event[0] == "say" and len(event) == 3:
                said = ["said", event[1], names.get(sid, "somebody"), event[2]]
                node.send(sid, group(event[1]) + b":socket.io/event", packed(said))
        elif kind == b"end":
            names.pop(sid, None)


def group(room):
    """The group of a room, whatever a client calls it; 64 bytes are the most that the name of a group has."""
    return b"room " + json.dumps(room).encode()[:59]


if __name__ == "__main__":
    main()
