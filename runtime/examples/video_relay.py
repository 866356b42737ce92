"""Live pictures from every camera to every window, past the node.

Start the server without arguments, then this; open http://127.0.0.1:8080/ in two windows and allow the camera.

    python3 runtime/examples/video_relay.py [ENDPOINT] [NAME]

A window opens two WebSockets. `/control` is the node's: it gives out numbers, tells who comes and goes, and passes
what is typed to all. `/data` carries pictures, each behind one byte, the number of its camera. It joins the group
`videoframes` without an echo and is piped into it: from then on the server takes each picture to everybody else by
itself, and the node, busy or not, never sees one.
"""

import json

from nodekit import Node, arguments, is_websocket, request

PAGE = b"""<!DOCTYPE html>
<meta charset="utf-8">
<title>Video relay</title>
<style>img, video { width: 320px; height: 240px; background: #ccc } body { font: 16px sans-serif }</style>
<p><video autoplay muted playsinline></video> <span id="others"></span>
<p><input placeholder="Say something" size="40">
<pre></pre>
<script>
const find = what => document.querySelector(what), show = text => find("pre").prepend(text, "\\n");
const open = path => new WebSocket(location.origin.replace(/^http/, "ws") + path);
const control = open("/control"), data = open("/data"), pictures = new Map();
data.binaryType = "arraybuffer";
let number = null;
control.onmessage = message => {
    const news = JSON.parse(message.data);
    if (news.you) number = news.you;
    if (news.text) show(`${news.from}: ${news.text}`);
    if (news.left) {
        pictures.get(news.left)?.remove();
        pictures.delete(news.left);
    }
};
find("input").onchange = event => {
    control.send(event.target.value);
    event.target.value = "";
};
data.onmessage = message => {
    const from = new Uint8Array(message.data)[0];
    if (!pictures.has(from)) {
        pictures.set(from, new Image());
        find("#others").append(pictures.get(from));
    }
    URL.revokeObjectURL(pictures.get(from).src);
    pictures.get(from).src = URL.createObjectURL(new Blob([message.data.slice(1)], {type: "image/jpeg"}));
};
navigator.mediaDevices.getUserMedia({video: {width: 320, height: 240}}).then(stream => {
    find("video").srcObject = stream;
    const canvas = new OffscreenCanvas(320, 240), pen = canvas.getContext("2d");
    setInterval(async () => {
        // No new picture while the last is under way.
        if (number == null || data.readyState != WebSocket.OPEN || data.bufferedAmount) return;
        pen.drawImage(find("video"), 0, 0, 320, 240);
        const picture = await canvas.convertToBlob({type: "image/jpeg", quality: 0.5});
        data.send(new Blob([new Uint8Array([number]), picture]));
    }, 100);
}, error => show(`no camera: ${error.message}`));
</script>
"""


def main():
    options = arguments(__doc__, "video")
    node = Node(options.endpoint, options.name)
    numbers = {}

    def tell_all(sid, **news):
        node.send(sid, b"videocontrol:websocket", json.dumps(news).encode())

    for sid, kind, body in node.messages():
        if kind == b"uwsgi":
            asked = request(body)
            if not is_websocket(asked):
                node.page(sid, PAGE)
            elif asked["PATH_INFO"] == "/data":
                node.send(sid, b"join", b"videoframes")
                node.send(sid, b"noecho", b"videoframes")
                node.send(sid, b"pipe", b"videoframes:websocket")
            else:
                number = min(set(range(1, 256)) - set(numbers.values()), default=None)
                if number is None:
                    node.send(sid, b"end")
                    continue
                numbers[sid] = number
                node.send(sid, b"join", b"videocontrol")
                node.send(sid, b"websocket", json.dumps({"you": number}).encode())
        elif kind == b"websocket" and sid in numbers:
            tell_all(sid, **{"from": numbers[sid], "text": body.decode("utf-8", "replace")})
        elif kind == b"end" and sid in numbers:
            tell_all(b"", left=numbers.pop(sid))


if __name__ == "__main__":
    main()
