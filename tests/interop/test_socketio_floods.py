"""Too much, too often or too slow by socket.io: each is bounded, named in the log, and harms nobody beside it."""

import contextlib
import struct

import h2.events
import pytest
from websockets.exceptions import ConnectionClosed

from blastbeat import PATIENCE
from hyper import Client as Http2
from polling import Client, enter, hear, websocket
from siege import MEBIBYTE
from socketio_siege import (Watch, besieged, closing, waits_for_no_body, waits_for_no_heartbeat, waits_for_no_namespace,
                            waits_for_no_reader, waits_for_no_upgrade)


def test_a_payload_that_is_too_large(besieged):
    with Watch(besieged) as watch:
        client = Client(besieged).enter()
        assert client.greeting["maxPayload"] == 100 * 1024
        assert client.post('42["echo","' + "x" * 100_000 + '"]').body == "ok"
        # Of one that says so beforehand nothing is read.
        answer = client.post('42["echo","' + "x" * 200_000 + '"]')
        assert answer.status == 413
        watch.named("body-too-large")


def test_a_payload_without_end(besieged):
    """Nobody knows how large it becomes until it is too large."""
    with Watch(besieged) as watch:
        client = Client(besieged).enter()
        stream = besieged.connect()
        stream.sendall(f"POST {client.target()} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 8 * MEBIBYTE:
                stream.sendall(b"4000\r\n" + b"4" * 0x4000 + b"\r\n")
                sent += 0x4000
        watch.named("body-too-large")
        assert sent < 8 * MEBIBYTE
        stream.close()


def test_a_message_that_is_too_large(besieged):
    with Watch(besieged) as watch:
        client = enter(besieged)
        client.send('42["echo","' + "x" * 200_000 + '"]')
        assert closing(client) == 1009
        watch.named("message-too-large")


def test_attachments_that_are_too_large_together(besieged):
    with Watch(besieged, memory=16 * MEBIBYTE) as watch:
        client = enter(besieged)
        with contextlib.suppress(ConnectionClosed):
            for _ in range(50):
                client.send('455-["echo",' + ",".join(f'{{"_placeholder":true,"num":{n}}}' for n in range(5)) + "]")
                for _ in range(4):
                    client.send(bytes(90_000))
                    watch.ask()
        assert closing(client) == 1008


def test_a_flood_of_packets(besieged):
    with Watch(besieged) as watch:
        client = Client(besieged).enter()
        assert client.post(*['42["echo",1]'] * 50).body == "ok"
        assert client.post(*['42["echo",1]'] * 51).error() == (400, 3, "Bad request")
        watch.named("packets-too-many")
        legacy = Client(besieged, version=3)
        assert legacy.post(b"1:2" * 51).error() == (400, 3, "Bad request")


def look(connection):
    """Waits until all that was sent on this connection has been looked at."""
    connection.machine.ping(b"have you")
    connection.flush()
    connection.wait(h2.events.PingAckReceived)


def test_a_poll_on_top_of_a_poll(besieged):
    with Watch(besieged) as watch:
        client, connection = Client(besieged).enter(), Http2(besieged)
        first = connection.ask(client.target())
        look(connection)
        assert client.get().error() == (400, 3, "Bad request")
        status, _, body = connection.answer(first)
        assert (status, body) == (200, b"1")
        watch.named("request-overlap")
        assert client.get().error() == (400, 1, "Session ID unknown")


def test_a_post_on_top_of_a_post(besieged):
    with Watch(besieged) as watch:
        client, connection = Client(besieged).enter(), Http2(besieged)
        first = connection.ask(client.target(), "POST", [("content-length", "5")], end=False)
        connection.upload(first, b"42", end=False)
        look(connection)
        assert client.post('42["echo",1]').status == 400
        watch.named("request-overlap")


def test_namespaces_without_end(besieged):
    with Watch(besieged) as watch:
        client = enter(besieged)
        heard = []
        with contextlib.suppress(ConnectionClosed):
            for nth in range(100):
                client.send(f"40/{nth},")
            while len(heard) < 300:
                heard.append(hear(client))
        accepted = [packet for packet in heard if packet.startswith("40/")]
        assert len(accepted) <= 10
        watch.named("namespaces-max")
        client.close()


@pytest.mark.parametrize("name", ["/" + "x" * 5000, "/\0", "/a\nb"])
def test_namespaces_with_bad_names(besieged, name):
    with Watch(besieged):
        client = enter(besieged)
        client.send(f"40{name},")
        assert closing(client) == 1008


def test_a_probe_that_is_none(besieged):
    with Watch(besieged) as watch:
        client = Client(besieged).enter()
        probe = client.websocket()
        probe.send('42["echo",1]')
        assert closing(probe) == 1008
        watch.named("packet-malformed")
        # The session goes on as it was.
        assert client.post('42["echo",2]').body == "ok"
        assert client.hear('42["echo",2]') == ['42["echo",2]']


def test_two_probes_at_once(besieged):
    with Watch(besieged):
        client = Client(besieged).enter()
        first = client.websocket()
        first.send("2probe")
        assert first.recv(PATIENCE) == "3probe"
        second = client.websocket()
        with contextlib.suppress(ConnectionClosed):
            second.send("2probe")
        assert closing(second) in (1002, 1008)
        first.send("5")
        first.send('42["echo","on it"]')
        assert hear(first) == '42["echo","on it"]'
        third = client.websocket()
        with contextlib.suppress(ConnectionClosed):
            third.send("2probe")
        assert closing(third) in (1002, 1008)
        assert client.get().status == client.post('42["echo",3]').status == 400
        first.close()


def test_a_session_that_is_not_polled_while_its_room_talks(besieged):
    """What waits for it is bounded; then it is sent away alone."""
    with Watch(besieged, memory=16 * MEBIBYTE, seconds=10) as watch:
        silent = Client(besieged).enter()
        assert silent.post('42["join","loud"]').body == "ok"
        speaker = enter(besieged)
        speaker.send('42["join","loud"]')
        for _ in range(40):
            speaker.send('42["say","loud","' + "x" * 90_000 + '"]')
            while not hear(speaker).startswith('42["said"'):
                pass
        watch.named("slow-client")
        assert silent.get().error() == (400, 1, "Session ID unknown")
        speaker.close()


def test_a_client_that_reads_nothing(waits_for_no_reader):
    with Watch(waits_for_no_reader, memory=24 * MEBIBYTE, seconds=10) as watch:
        stream = waits_for_no_reader.connect()
        stream.sendall(b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                       b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")

        def message(text):
            return b"\x81" + (struct.pack(">B", 0x80 | len(text)) if len(text) < 126 else
                              struct.pack(">BH", 0xfe, len(text)) if len(text) < 65536 else
                              struct.pack(">BQ", 0xff, len(text))) + bytes(4) + text

        stream.sendall(message(b"40"))
        # Before it has been let in it has no say.
        heard = b""
        while b'42["auth",{}]' not in heard:
            heard += stream.recv(4096) or pytest.fail(f"it ended after {heard}")
        with contextlib.suppress(OSError):
            for _ in range(400):
                stream.sendall(message(b'42["echo","' + b"x" * 90_000 + b'"]'))
        watch.named("slow-client", "write-stall")
        stream.close()


def test_sessions_that_nobody_polls(waits_for_no_namespace):
    with Watch(waits_for_no_namespace, memory=16 * MEBIBYTE, seconds=10) as watch:
        clients = [Client(waits_for_no_namespace) for _ in range(300)]
        for client in clients:
            # If it is in time with its first poll, that waits for the end.
            first = client.get()
            assert first.status == 400 or first.body == "1" and client.get().status == 400
        watch.ask()


def test_a_heartbeat_that_is_not_answered(waits_for_no_heartbeat):
    with Watch(waits_for_no_heartbeat) as watch:
        client = websocket(waits_for_no_heartbeat)
        with contextlib.suppress(ConnectionClosed):
            client.send("40")
        closing(client)
        watch.named("ping-timeout")


def test_a_client_that_enters_no_namespace(waits_for_no_namespace):
    with Watch(waits_for_no_namespace) as watch:
        client = websocket(waits_for_no_namespace)
        with contextlib.suppress(ConnectionClosed):
            while True:
                hear(client)
        watch.named("connect-timeout")


def test_a_probe_that_goes_no_further(waits_for_no_upgrade):
    with Watch(waits_for_no_upgrade) as watch:
        client = Client(waits_for_no_upgrade).enter()
        probe = client.websocket()
        # It may be late already with this.
        with contextlib.suppress(ConnectionClosed):
            probe.send("2probe")
            assert probe.recv(PATIENCE) == "3probe"
        closing(probe)
        watch.named("upgrade-timeout")


def test_a_payload_that_does_not_come(waits_for_no_body):
    with Watch(waits_for_no_body) as watch:
        client = Client(waits_for_no_body)
        stream = waits_for_no_body.connect()
        stream.sendall(f"POST {client.target()} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n4".encode())
        assert b" 408 " in stream.recv(4096)
        watch.named("body-timeout")
        stream.close()


def test_answers_to_questions_that_nobody_asked(besieged):
    """They reach the node, which knows what it has asked; nothing is kept for them."""
    with Watch(besieged):
        client = enter(besieged)
        for _ in range(500):
            client.send('4399999[1]')
            assert hear(client) == '42["answered",1]'
        client.send('43' + "9" * 40 + '[1]')
        assert closing(client) == 1008


def test_json_comes_to_the_node_as_it_was_sent(besieged):
    """Escapes and numbers are the node's to read: the server passes on what it has checked."""
    with Watch(besieged):
        client = enter(besieged)
        texts = ['"\\u0000"', "1e400", "-0", '"\\ud83d\\ude00"', '{"__proto__":{"a":1}}', "  [ 1 , 2 ]  ", '"last"']
        for text in texts:
            client.send(f'42["echo",{text}]')
        while hear(client) != '42["echo","last"]':
            pass
        got = [body.decode() for _, kind, body in besieged.node.messages if kind == b"socket.io/event"]
        assert got[-len(texts):] == [f'["echo",{text}]' for text in texts]
        client.close()
