"""socket.io by requests alone: over any connection, from pages of any origin, as scripts."""

import asyncio
import json
import urllib.parse

import httpx
import pytest
import wsproto

import certificates
from blastbeat import PATIENCE, Node, packet
from hyper import Client as Http2
from polling import SEPARATOR, Client, Request, enter, hear, websocket
from socketio_app import Application, PlainApplication
from test_h2_websockets import WebSocket

CAPABILITIES = b"socket.io binary end-reason errors"

# No heartbeat comes between, and nobody is late.
UNHURRIED = "socketio-ping-interval = 100\nsocketio-upgrade-timeout = 100\n"


def echo_websocket(node, sid, kind, body):
    if kind in (b"websocket/text", b"websocket/binary"):
        if body.startswith(b"join "):
            node.reply(sid, b"join", body[5:])
        elif body.startswith(b"all "):
            node.reply(sid, b"hall:" + kind, body[4:])
        else:
            node.reply(sid, kind, body)


@pytest.fixture
def front(serving):
    server = serving(UNHURRIED, "engineio = /engine.io/ 4 3\nwebsocket-origin = https://page.example")
    application = Application()

    def handle(node, *message):
        application(node, *message)
        echo_websocket(node, *message)

    with Node(server, "one", handle, capabilities=CAPABILITIES).available() as server.node:
        yield server


@pytest.fixture
def open_front(serving):
    server = serving(UNHURRIED)
    with Node(server, "one", Application(), capabilities=CAPABILITIES).available() as server.node:
        yield server


def test_by_http2(front):
    async def run():
        async with httpx.AsyncClient(http1=False, http2=True, verify=certificates.client(), timeout=PATIENCE, trust_env=False,
                                     base_url=front.tls_url) as client:
            async def one(number):
                query = {"EIO": "4", "transport": "polling"}
                opened = await client.get("/socket.io/", params=query)
                assert opened.http_version == "HTTP/2"
                query["sid"] = json.loads(opened.text[1:])["sid"]
                said = ['40{"token":"x"}', *(f'42["echo",{number},{round}]' for round in range(10))]
                heard = []
                for words in said:
                    # One stream waits while another brings what it waits for.
                    waiting = asyncio.create_task(client.get("/socket.io/", params=query))
                    posted = await client.post("/socket.io/", params=query, content=words)
                    assert (posted.status_code, posted.text) == (200, "ok")
                    heard += (await waiting).text.split(SEPARATOR)
                while said[-1] not in heard:
                    heard += (await client.get("/socket.io/", params=query)).text.split(SEPARATOR)
                heard = [words for words in heard if words != "2"]
                assert heard[0].startswith("40{")
                assert heard[1:] == ['42["auth",{"token":"x"}]', *said[1:]]

            await asyncio.gather(*map(one, range(10)))

    asyncio.run(run())


def test_a_websocket_on_a_stream(front):
    """Sessions by WebSocket and by polling share one connection of HTTP/2."""
    connection = Http2(front, "tls")
    socket = WebSocket(connection, "/socket.io/?EIO=4&transport=websocket")
    assert socket.message().startswith("0{")
    polls = Client(front).enter()
    taken = WebSocket(connection, polls.target(transport="websocket"))
    taken.send(wsproto.events.TextMessage("2probe"))
    assert taken.message() == "3probe"
    taken.send(wsproto.events.TextMessage("5"))
    socket.send(wsproto.events.TextMessage("40"))
    assert [socket.message()[:3], socket.message()] == ["40{", '42["auth",{}]']
    for each in (socket, taken):
        each.send(wsproto.events.TextMessage('42["echo",1]'))
        assert each.message() == '42["echo",1]'


def test_over_a_connection_of_another_kind_each_time(front):
    client = Client(front).enter()
    over = [Http2(front), Http2(front, "tls")]
    for nth in range(6):
        assert client.post(f'42["echo",{nth}]').body == "ok"
        if nth % 3:
            status, _, body = over[nth % 3 - 1].get(client.target())
            assert (status, body.decode()) == (200, f'42["echo",{nth}]')
        else:
            assert client.poll() == [f'42["echo",{nth}]']
    assert len([kind for _, kind, _ in front.node.messages if kind == b"uwsgi"]) == 1


def test_the_handshake_is_shown_to_the_node(open_front):
    Client(open_front, token="a b").enter()
    request = packet(open_front.node.wait(b"uwsgi")[2])
    assert (request["REQUEST_METHOD"], request["PATH_INFO"]) == ("GET", "/socket.io/")
    assert urllib.parse.parse_qs(request["QUERY_STRING"])["token"] == ["a b"]


def test_engine_io_alone_is_a_websocket_to_the_node(front):
    polls, upgraded = Client(front, "/engine.io/"), Client(front, "/engine.io/")
    sockets = [websocket(front, "/engine.io/?EIO=4&transport=websocket"), websocket(front, "/engine.io/?EIO=3&transport=websocket")]
    for socket in sockets:
        assert socket.recv(PATIENCE).startswith("0{")
    taken = upgraded.websocket()
    taken.send("2probe")
    assert taken.recv(PATIENCE) == "3probe"
    taken.send("5")
    sockets.append(taken)
    assert polls.post("4hello", "bAAH/").body == "ok"
    got = []
    while len(got) < 2:
        got += polls.poll()
    assert got == ["4hello", "bAAH/"]
    for socket in sockets:
        socket.send("4hello")
        assert hear(socket) == "4hello"
    sockets[0].send(b"\0\1\xff")
    assert hear(sockets[0]) == b"\0\1\xff"
    sockets[1].send(b"\4\0\1\xff")
    assert hear(sockets[1]) == b"\4\0\1\xff"
    # A room of them and of WebSockets.
    plain = websocket(front, "/chat", origin="https://page.example")
    plain.send("join hall")
    plain.send("here")
    assert plain.recv(PATIENCE) == "here"
    polls.post("4join hall")
    for socket in sockets:
        socket.send("4join hall")
        socket.send("4here")
        assert hear(socket) == "4here"
    plain.send("all hello")
    assert plain.recv(PATIENCE) == "hello"
    assert [hear(socket) for socket in sockets] == ["4hello"] * 3
    assert polls.poll() == ["4hello"]
    request = packet(front.node.wait(b"uwsgi")[2])
    assert request["PATH_INFO"] == "/engine.io/"


def cors(answer):
    return {name: value for name, value in answer.fields.items() if name.startswith("access-control-") or name == "vary"}


def test_pages_of_any_origin_where_none_is_named(open_front):
    fields = {"Origin": "https://any.example", "Access-Control-Request-Method": "POST",
              "Access-Control-Request-Headers": "content-type"}
    preflight = Request(open_front, "OPTIONS", "/socket.io/?EIO=4&transport=polling", fields=fields).answer()
    assert preflight.status in (200, 204)
    said = cors(preflight)
    assert said["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in said
    assert "POST" in said["access-control-allow-methods"]
    assert "content-type" in said["access-control-allow-headers"].lower()
    answer = Request(open_front, "GET", "/socket.io/?EIO=4&transport=polling", fields=fields).answer()
    assert (answer.status, cors(answer)["access-control-allow-origin"]) == (200, "*")
    # Also what is refused can be read by the page.
    answer = Request(open_front, "GET", "/socket.io/?EIO=4&transport=flying", fields=fields).answer()
    assert (answer.status, cors(answer)["access-control-allow-origin"]) == (400, "*")


def test_pages_of_origins_that_are_named(front):
    fields = {"Origin": "https://page.example"}
    for method, status in (("OPTIONS", (200, 204)), ("GET", (200,))):
        answer = Request(front, method, "/socket.io/?EIO=4&transport=polling", fields=fields).answer()
        assert answer.status in status
        said = cors(answer)
        assert said["access-control-allow-origin"] == "https://page.example"
        assert said["access-control-allow-credentials"] == "true"
        assert "origin" in said["vary"].lower()
    other = Request(front, "GET", "/socket.io/?EIO=4&transport=polling", fields={"Origin": "https://evil.example"}).answer()
    assert other.error() == (403, 4, "Forbidden")
    assert "access-control-allow-origin" not in other.fields
    # Whoever sends none is no page.
    assert Client(front).sid


@pytest.mark.parametrize("target", ["/socket.io/?EIO=3&transport=polling&j=0", "/socket.io/1/?jsonp=0"])
def test_scripts_in_pages_of_origins_that_are_not_named(front, target):
    """A script has the visitor's cookies, and no Origin that would tell whose page it is in."""
    for fields in ({}, {"Referer": "https://evil.example/page.example"}, {"Referer": "https://page.example.evil.example/"}):
        answer = Request(front, "GET", target, fields=fields).answer()
        assert answer.error() == (403, 4, "Forbidden")
    own = Request(front, "GET", target, fields={"Referer": "https://page.example/chat?x=1"}).answer()
    assert own.status == 200


def script(answer, function):
    """What a page is given when it runs the script."""
    assert answer.status == 200
    assert "javascript" in answer.fields["content-type"]
    head, tail = f"{function}(", ");"
    assert answer.body.startswith(head) and answer.body.endswith(tail), answer.body
    assert "\u2028" not in answer.body and "</" not in answer.body
    return json.loads(answer.body[len(head):-len(tail)])


def form(text):
    return urllib.parse.urlencode({"d": text}).encode(), {"Content-Type": "application/x-www-form-urlencoded"}


def test_scripts_of_clients_2(open_front):
    query = "/socket.io/?EIO=3&transport=polling"
    opened = script(Request(open_front, "GET", f"{query}&j=7").answer(), "___eio[7]")
    sid = json.loads(opened[opened.index("{"):opened.index("}") + 1])["sid"]
    text = 'a"\\ \u2028</script>\n\u20ac'
    event = "42" + json.dumps(["echo", text], ensure_ascii=False)
    payload = f"{len(event)}:{event}"
    # Such a page doubles the backslashes, for forms make something else of line ends.
    body, fields = form(payload.replace("\\n", "\\\\n"))
    poll = f"{query}&j=7&sid={sid}"
    while "40" not in script(Request(open_front, "GET", poll).answer(), "___eio[7]"):
        pass
    posted = Request(open_front, "POST", poll, body, fields).answer()
    assert (posted.status, posted.body) == (200, "ok")
    got = ""
    while "echo" not in got:
        got += script(Request(open_front, "GET", poll).answer(), "___eio[7]")
    assert json.loads(got[got.index('["echo"'):got.index("]", got.index('["echo"')) + 1]) == ["echo", text]


def test_scripts_of_clients_0_9(open_front):
    opened = script(Request(open_front, "GET", "/socket.io/1/?t=1&jsonp=0").answer(), "io.j[0]")
    sid, _, _, transports = opened.split(":")
    assert "jsonp-polling" in transports.split(",")
    target = f"/socket.io/1/jsonp-polling/{sid}?t=2"
    assert script(Request(open_front, "GET", f"{target}&i=1").answer(), "io.j[1]").lstrip("\ufffd3").startswith("1::")
    event = "5:::" + json.dumps({"name": "echo", "args": ["\u20ac </b>"]}, ensure_ascii=False)
    body, fields = form(json.dumps(event, ensure_ascii=False))
    assert Request(open_front, "POST", f"{target}&i=2", body, fields).answer().body == "1"
    got = ""
    while "echo" not in got:
        got += script(Request(open_front, "GET", f"{target}&i=3").answer(), "io.j[3]")
    assert json.loads(got[got.rindex("5:::") + 4:]) == {"name": "echo", "args": ["\u20ac </b>"]}


def test_a_client_0_9_that_leaves_by_a_request(open_front):
    sid = Request(open_front, "GET", "/socket.io/1/").answer().body.split(":")[0]
    target = f"/socket.io/1/xhr-polling/{sid}"
    assert "1::" in Request(open_front, "GET", target).answer().body
    assert Request(open_front, "GET", f"{target}?disconnect=1").answer().status == 200
    assert open_front.node.wait(b"end")[2] == b"client-closed"


@pytest.mark.parametrize("query, carried", [({}, b"\4\0\1\xff"), ({"b64": "1"}, b"b4AAH/")], ids=["binary", "text"])
def test_binary_payloads_of_clients_2(open_front, query, carried):
    client = Client(open_front, version=3, **query)

    def hear(*what):
        got = b""
        while not all(piece in got for piece in what):
            response = client.begin().connection.getresponse()
            assert response.status == 200
            got += response.read()

    hear(b"40", b"auth")
    event = '451-["echo",{"_placeholder":true,"num":0}]'
    assert client.post(f"{len(event)}:{event}6:b4AAH/").body == "ok"
    hear(b'["echo",', carried)


def test_a_client_beside_is_told_at_once(open_front):
    waiting, speaking = Client(open_front).enter(), enter(open_front)
    assert waiting.post('420["join","hall"]').body == "ok"
    assert waiting.poll() == ['430["hall"]']
    poll = waiting.begin()
    speaking.send('42["say","hall","now"]')
    assert poll.answer().body == '42["said","now"]'


def test_a_room_of_a_node_that_knows_events_alone(serving):
    server = serving(UNHURRIED)
    with Node(server, "one", PlainApplication()).available():
        five = websocket(server)
        five.send("40")
        assert hear(five).startswith("0{") and hear(five).startswith("40{")
        two = websocket(server, "/socket.io/?EIO=3&transport=websocket")
        assert hear(two).startswith("0{") and hear(two) == "40"
        sid = Request(server, "GET", "/socket.io/1/").answer().body.split(":")[0]
        one = websocket(server, f"/socket.io/1/websocket/{sid}")
        assert hear(one) == "1::"
        for client, join in ((five, '42["join","hall"]'), (two, '42["join","hall"]'), (one, '5:::{"name":"join","args":["hall"]}')):
            client.send(join)
            assert "joined" in hear(client)
        for speaker, words in ((five, '42["say","hall","x",[1]]'), (one, '5:::{"name":"say","args":["hall","x",[1]]}')):
            speaker.send(words)
            assert hear(five) == hear(two) == '42["said","x",[1]]'
            assert json.loads(hear(one).removeprefix("5:::")) == {"name": "said", "args": ["x", [1]]}
        # Text and JSON of the oldest go back as they came; to others they are events.
        for words in ("3:::text \u20ac:", '4:::{"a":1}'):
            one.send(words)
            assert hear(one) == words
        five.send('42["message","text"]')
        assert hear(five) == '42["message","text"]'
