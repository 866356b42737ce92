"""A canvas that all who look at it draw on.

Start the server without arguments, then this; open http://127.0.0.1:8080/ in two windows and draw.

    python3 runtime/examples/shared_canvas.py [ENDPOINT] [NAME]

Each WebSocket joins a group as it opens, and each of its messages goes to that group: the node sends one message,
the server hands it to everybody. Strokes are kept, so that whoever comes later sees the whole picture.
"""

from nodekit import Node, arguments, is_websocket, request

STROKES_MAX = 10_000

PAGE = b"""<!DOCTYPE html>
<meta charset="utf-8">
<title>Shared canvas</title>
<style>body { margin: 0 } canvas { display: block; cursor: crosshair; touch-action: none }</style>
<canvas></canvas>
<script>
const canvas = document.querySelector("canvas"), pen = canvas.getContext("2d");
canvas.width = innerWidth;
canvas.height = innerHeight;
pen.lineWidth = 3;
pen.lineCap = "round";
const color = `hsl(${Math.random() * 360} 80% 40%)`;
const socket = new WebSocket(location.href.replace(/^http/, "ws"));
socket.onmessage = message => {
    const [color, x1, y1, x2, y2] = JSON.parse(message.data);
    pen.strokeStyle = color;
    pen.beginPath();
    pen.moveTo(x1, y1);
    pen.lineTo(x2, y2);
    pen.stroke();
};
let last = null;
canvas.onpointerdown = event => last = [event.offsetX, event.offsetY];
canvas.onpointermove = event => {
    if (!last || !event.buttons || socket.readyState != WebSocket.OPEN) return;
    const here = [event.offsetX, event.offsetY];
    // It is drawn when it comes back, like everybody else's.
    socket.send(JSON.stringify([color, ...last, ...here]));
    last = here;
};
canvas.onpointerup = () => last = null;
</script>
"""


def main():
    options = arguments(__doc__, "canvas")
    node = Node(options.endpoint, options.name)
    strokes = []
    for sid, kind, body in node.messages():
        if kind == b"uwsgi" and is_websocket(request(body)):
            node.send(sid, b"join", b"sharedcanvas")
            for stroke in strokes:
                node.send(sid, b"websocket", stroke)
        elif kind == b"uwsgi":
            node.page(sid, PAGE)
        elif kind == b"websocket":
            strokes.append(body)
            del strokes[:-STROKES_MAX]
            node.send(sid, b"sharedcanvas:websocket", body)


if __name__ == "__main__":
    main()
