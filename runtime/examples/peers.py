"""A chat for curl: answers that never end, and messages from session to session.

Start the server without arguments, then this, and in some terminals

    curl -N http://127.0.0.1:8080/ada            # hears all that is said from now on
    curl -d 'hello' http://127.0.0.1:8080/ada    # says it to everybody

    python3 runtime/examples/peers.py [ENDPOINT] [NAME]

Who listens joins the group `peers`. What is said travels as `peers:msg`: a message that the server takes to the node of
each member, once for each of them, and that the node turns into a chunk of that member's answer. There may be
several such nodes; each serves its own listeners, and none knows of the others.
"""

from urllib.parse import unquote

from nodekit import Node, arguments, request

STREAM = (b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n"
          b"Transfer-Encoding: chunked\r\n\r\n")


def main():
    options = arguments(__doc__, "peers")
    node = Node(options.endpoint, options.name)
    listeners, speakers = {}, {}
    for sid, kind, body in node.messages():
        if kind == b"uwsgi":
            asked = request(body)
            name = (unquote(asked["PATH_INFO"].strip("/")) or "somebody").encode()
            if asked["REQUEST_METHOD"] == "POST":
                left = int(asked.get("CONTENT_LENGTH") or 0)
                if left:
                    speakers[sid] = [name, left, b""]
                else:
                    node.refuse(sid, b"411 Length Required")
            else:
                listeners[sid] = name
                node.send(sid, b"headers", STREAM)
                node.send(sid, b"chunk", b"hello " + name + b"\n")
                node.send(sid, b"join", b"peers")
                # Nobody is told of his own coming.
                node.send(sid, b"noecho", b"peers")
                node.send(sid, b"peers:msg", name + b" is here\n")
        elif kind == b"body" and sid in speakers:
            speaker = speakers[sid]
            speaker[1] -= len(body)
            speaker[2] += body
            if speaker[1] == 0:
                name, _, text = speakers.pop(sid)
                node.send(sid, b"peers:msg", name + b": " + text.rstrip() + b"\n")
                node.send(sid, b"headers", b"HTTP/1.1 204 No Content\r\n\r\n")
        elif kind == b"msg" and sid in listeners:
            node.send(sid, b"chunk", body)
        elif kind == b"end":
            speakers.pop(sid, None)
            if sid in listeners:
                # The session is over, so the node speaks for itself: with an empty session id.
                node.send(b"", b"peers:msg", listeners.pop(sid) + b" has left\n")


if __name__ == "__main__":
    main()
