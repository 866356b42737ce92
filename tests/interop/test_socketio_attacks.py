"""Requests and packets of socket.io that break its rules: each is answered in the protocol's words, named in the log, and
harms nobody beside it."""

import contextlib

import pytest
from websockets.exceptions import ConnectionClosed

from polling import SEPARATOR, Client, Request, enter, websocket
from socketio_siege import Watch, besieged, closing

UNKNOWN = "AAAAAAAAAAAAAAAAAAAAAA"

# What is asked for, and what the protocol says to it.
REQUESTS = {
    "no transport": ("GET", "/socket.io/?EIO=4", 0, "Transport unknown", "transport-unknown"),
    "a transport that there is not": ("GET", "/socket.io/?EIO=4&transport=flying", 0, "Transport unknown", "transport-unknown"),
    "a property of objects": ("GET", "/socket.io/?EIO=4&transport=constructor", 0, "Transport unknown", "transport-unknown"),
    "a session that there is not": (
        "GET", f"/socket.io/?EIO=4&transport=polling&sid={UNKNOWN}", 1, "Session ID unknown", "session-unknown"),
    "a session that cannot be": (
        "GET", "/socket.io/?EIO=4&transport=polling&sid=%00%ff", 1, "Session ID unknown", "session-unknown"),
    "a post to a session that there is not": (
        "POST", f"/socket.io/?EIO=4&transport=polling&sid={UNKNOWN}", 1, "Session ID unknown", "session-unknown"),
    "a handshake by POST": ("POST", "/socket.io/?EIO=4&transport=polling", 2, "Bad handshake method", "handshake-method"),
    "a handshake by PUT": ("PUT", "/socket.io/?EIO=4&transport=polling", 2, "Bad handshake method", "handshake-method"),
    "a WebSocket that is none": ("GET", "/socket.io/?EIO=4&transport=websocket", 3, "Bad request", "request-malformed"),
    "a generation to come": (
        "GET", "/socket.io/?EIO=5&transport=polling", 5, "Unsupported protocol version", "generation-unsupported"),
    "no generation": ("GET", "/engine.io/?EIO=abc&transport=polling", 5, "Unsupported protocol version", "generation-unsupported"),
    "a script that is not a number": (
        "GET", "/socket.io/?EIO=3&transport=polling&j=alert(1)", 3, "Bad request", "request-malformed"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_requests(besieged, name):
    method, target, code, words, cause = REQUESTS[name]
    with Watch(besieged) as watch:
        answer = Request(besieged, method, target, b"40" if method != "GET" else None).answer()
        assert answer.error() == (400, code, words)
        watch.named(cause)


def test_a_generation_that_is_switched_off(besieged):
    with Watch(besieged) as watch:
        other = {"Host": "other"}
        answer = Request(besieged, "GET", "/five/?EIO=3&transport=polling", fields=other).answer()
        assert answer.error() == (400, 5, "Unsupported protocol version")
        watch.named("generation-unsupported")
        assert Request(besieged, "GET", "/five/?EIO=4&transport=polling", fields=other).answer().status == 200


def test_a_session_of_another_host(besieged):
    """Whoever knows its id cannot take it up elsewhere."""
    with Watch(besieged) as watch:
        client = Client(besieged)
        answer = Request(besieged, "GET", f"/five/?EIO=4&transport=polling&sid={client.sid}", fields={"Host": "other"}).answer()
        assert answer.error() == (400, 1, "Session ID unknown")
        watch.named("session-unknown")
        client.enter()


def test_a_session_of_another_generation(besieged):
    """What a client said it speaks when it came holds for as long as it stays."""
    with Watch(besieged):
        client = Client(besieged).enter()
        assert client.post('42["echo","a"]', '42["echo","b"]').body == "ok"
        heard = Request(besieged, "GET", f"/socket.io/?EIO=3&transport=polling&sid={client.sid}").answer().body
        while heard.count("echo") < 2:
            heard += SEPARATOR + Request(besieged, "GET", f"/socket.io/?EIO=3&transport=polling&sid={client.sid}").answer().body
        assert heard.split(SEPARATOR) == ['42["echo","a"]', '42["echo","b"]']
        for target in (f"/engine.io/?EIO=4&transport=polling&sid={client.sid}", f"/socket.io/1/xhr-polling/{client.sid}"):
            assert Request(besieged, "GET", target).answer().status == 400
        assert client.post('42["echo","c"]').body == "ok"
        assert client.poll() == ['42["echo","c"]']


def nested(depth):
    return '42["echo",' + "[" * depth + "]" * depth + "]"


# Packets, the cause for which they are refused, and whether the namespace was entered before.
PACKETS = {
    "no packet": ("x", "packet-malformed", True),
    "a type that there is not": ("9", "packet-malformed", True),
    "a packet of socket.io that there is not": ("49", "packet-malformed", True),
    "an event before anything else": ('42["echo",1]', "packet-malformed", False),
    "an event that is no array": ('42{"echo":1}', "json-malformed", True),
    "an event without a name": ("42[]", "json-malformed", True),
    "a name that is an object": ("42[{},1]", "json-malformed", True),
    "a name that is ours": ('42["connect"]', "packet-malformed", True),
    "JSON that is cut": ('42["echo",{"a":', "json-malformed", True),
    "something behind JSON": ('42["echo"]]', "json-malformed", True),
    "an answer that is no array": ('430{"a":1}', "json-malformed", True),
    "auth that is no object": ("40[1]", "json-malformed", False),
    "depth": (nested(30), "json-too-deep", True),
    "great depth": (nested(40_000), "json-too-deep", True),
    "attachments without number": ('459999999999-["echo"]', "attachments-wrong", True),
    "too many attachments": ('456-["echo",1]', "attachments-wrong", True),
    "an attachment that is nowhere": ('451-["echo",{"_placeholder":true,"num":7}]' + SEPARATOR + "bAAAA", "attachments-wrong", True),
    "an attachment that has no number": (
        '451-["echo",{"_placeholder":true,"num":"x"}]' + SEPARATOR + "bAAAA", "attachments-wrong", True),
    "an attachment to nothing": ("bAAAA", "attachments-wrong", True),
    "an event where an attachment should be": (
        '451-["echo",{"_placeholder":true,"num":0}]' + SEPARATOR + '42["echo",1]', "attachments-wrong", True),
    "base64 that is none": ("b!!!!", "packet-malformed", True),
}
# Where causes name the same fault with as much right.
ALIKE = {
    "packet-malformed": {"packet-malformed", "json-malformed", "attachments-wrong"},
    "json-malformed": {"json-malformed", "packet-malformed"},
    "attachments-wrong": {"attachments-wrong", "packet-malformed"},
    "json-too-deep": {"json-too-deep"},
}


@pytest.mark.parametrize("name", PACKETS)
def test_packets_by_polling(besieged, name):
    payload, cause, entered = PACKETS[name]
    with Watch(besieged) as watch:
        client = Client(besieged)
        if entered:
            client.enter()
        answer = client.post(payload)
        assert answer.error() == (400, 3, "Bad request")
        watch.named(*ALIKE[cause])
        # With what it says wrong its session is over.
        assert client.get().error() == (400, 1, "Session ID unknown")


@pytest.mark.parametrize("name", PACKETS)
def test_packets_by_websocket(besieged, name):
    payload, cause, entered = PACKETS[name]
    with Watch(besieged) as watch:
        client = enter(besieged) if entered else websocket(besieged)
        for packet in payload.split(SEPARATOR):
            # What is base64 there is binary here. The first may be one too many.
            with contextlib.suppress(ConnectionClosed):
                client.send(b"\0\0\0" if packet == "bAAAA" else packet)
        assert closing(client) == 1008
        watch.named(*ALIKE[cause])


@pytest.mark.parametrize("body", [b"42[\"echo\",\"\xff\"]", b"\x1e", b"", b"\x1e" * 10], ids=["utf-8", "two", "nothing", "eleven"])
def test_payloads_that_are_none(besieged, body):
    with Watch(besieged):
        client = Client(besieged).enter()
        assert client.post(body).error() == (400, 3, "Bad request")
        assert client.get().status == 400


LEGACY = {
    "lengths that lie": b"5000:42[\"echo\"]",
    "lengths without end": b"9" * 5000,
    "no lengths": b"hello",
    "lengths that are negative": b"-5:42[]",
    "half a binary length": b"\x00\x01",
    "binary that is cut": b"\x00\x09\xff4abc",
    "a binary length that overflows": b"\x00" + b"\x09" * 40 + b"\xff4",
}


@pytest.mark.parametrize("name", LEGACY)
def test_payloads_of_clients_2_that_are_none(besieged, name):
    with Watch(besieged):
        client = Client(besieged, version=3)
        fields = {"Content-Type": "application/octet-stream" if LEGACY[name][0] < 2 else "text/plain"}
        assert client.post(LEGACY[name], fields=fields).error() == (400, 3, "Bad request")
        assert client.get().status == 400


FIRST = {
    "no packet": "hello",
    "a type that there is not": "9:::",
    "lengths that lie": "\ufffd5000\ufffd5:::{}\ufffd3",
    "an event that is none": "5:::[1]",
    "JSON that is none": "4:::{",
    "depth": "4:::" + "[" * 30 + "]" * 30,
}


@pytest.mark.parametrize("name", FIRST)
def test_payloads_of_clients_0_9_that_are_none(besieged, name):
    with Watch(besieged):
        before = len(besieged.node.messages)
        sid = Request(besieged, "GET", "/socket.io/1/").answer().body.split(":")[0]
        target = f"/socket.io/1/xhr-polling/{sid}"
        assert Request(besieged, "GET", target).answer().body.lstrip("\ufffd3").startswith("1::")
        (session,) = [sid for sid, kind, _ in besieged.node.messages[before:] if kind == b"uwsgi"]
        assert Request(besieged, "POST", target, FIRST[name].encode()).answer().status == 400
        assert besieged.node.wait(b"end", sid=session)


def test_a_session_0_9_that_there_is_not(besieged):
    with Watch(besieged) as watch:
        for transport in ("xhr-polling", "jsonp-polling"):
            answer = Request(besieged, "GET", f"/socket.io/1/{transport}/{UNKNOWN}?i=0").answer()
            # Clients of that age begin anew when they are told so.
            assert answer.status == 400 or "7:::1+0" in answer.body
        watch.named("session-unknown")
        assert Request(besieged, "GET", f"/socket.io/1/flying/{UNKNOWN}").answer().status in (400, 404)
