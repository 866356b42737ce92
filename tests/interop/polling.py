"""A client of Engine.IO that says just what it is told to, by requests and by WebSockets."""

import http.client
import json
import urllib.parse
from typing import NamedTuple

from websockets.sync.client import connect

from blastbeat import PATIENCE

SEPARATOR = "\x1e"


class Answer(NamedTuple):
    status: int
    fields: dict
    body: str

    def error(self):
        """Status, number and words of a refusal."""
        assert self.fields["content-type"].startswith("application/json"), self
        error = json.loads(self.body)
        assert set(error) == {"code", "message"}
        return self.status, error["code"], error["message"]


class Request:
    """One request on a connection of its own, whose answer may be awaited later."""

    def __init__(self, server, method, target, body=None, fields=None):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        self.connection.request(method, target, body, {"Host": "localhost", **(fields or {})})

    def answer(self):
        response = self.connection.getresponse()
        fields = {name.lower(): value for name, value in response.getheaders()}
        answer = Answer(response.status, fields, response.read().decode())
        self.connection.close()
        return answer


class Client:
    """A session that polls."""

    def __init__(self, server, path="/socket.io/", version=4, **query):
        self.server, self.path, self.query = server, path, {"EIO": str(version), "transport": "polling", **query}
        answer = self.get()
        assert answer.status == 200, answer
        self.greeting = self.parse(answer.body)
        self.query["sid"] = self.sid = self.greeting["sid"]

    @staticmethod
    def parse(body):
        return json.loads(body[body.index("{"):body.rindex("}") + 1])

    def target(self, **query):
        return f"{self.path}?{urllib.parse.urlencode(self.query | query)}"

    def begin(self, method="GET", body=None, fields=None, **query):
        return Request(self.server, method, self.target(**query), body, fields)

    def get(self, **query):
        return self.begin(**query).answer()

    def post(self, *packets, fields=None):
        """Several packets are one payload."""
        body = packets[0] if isinstance(packets[0], bytes) else SEPARATOR.join(packets).encode()
        return self.begin("POST", body, fields).answer()

    def poll(self):
        answer = self.get()
        assert answer.status == 200, answer
        return answer.body.split(SEPARATOR)

    def enter(self):
        """Asks for the main namespace, and reads all that one is greeted with there."""
        assert self.post("40").body == "ok"
        self.hear('42["auth",{}]')
        return self

    def hear(self, packet):
        """Polls until that packet comes; returns all up to it. Heartbeats are answered."""
        got = []
        while packet not in got:
            got += self.poll()
            if "2" in got:
                got.remove("2")
                self.post("3")
        return got

    def websocket(self):
        """One that may take over."""
        return websocket(self.server, self.target(transport="websocket"))


def websocket(server, target="/socket.io/?EIO=4&transport=websocket", **options):
    return connect(f"ws://localhost:{server.port}{target}", open_timeout=PATIENCE, close_timeout=PATIENCE, proxy=None,
                   compression=None, max_size=None, legacy=True, **options)


def enter(server, **options):
    """A WebSocket in the main namespace, where it has been greeted."""
    client = websocket(server, **options)
    assert client.recv(PATIENCE).startswith("0{")
    client.send("40")
    assert hear(client).startswith("40{")
    assert hear(client) == '42["auth",{}]'
    return client


def hear(client):
    """The next that is not a heartbeat; those are answered."""
    while (message := client.recv(PATIENCE)) == "2":
        client.send("3")
    return message
