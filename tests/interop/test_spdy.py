"""SPDY as the packages of npm speak it, in all versions, in clear text and by TLS."""

import collections
import hashlib
import json
import signal
import subprocess
import threading

import pytest

import certificates
import spdy_site
from blastbeat import PATIENCE, Node, Server, hello, response
from siege import MEBIBYTE
from spdy import VERSIONS, WINDOW
from spdy_site import INI, Place, Site, environment, heard, mark, pattern

site = spdy_site.fixture("site")


@pytest.fixture(params=VERSIONS)
def place(site, carrier, request):
    return Place(site, site.folder, carrier, request.param)


@pytest.fixture(params=VERSIONS)
def either(site, request):
    """Where the server has to find out which it is."""
    return Place(site, site.folder, "either", request.param)


def test_a_page(place):
    node = place.server.node
    before = mark(node)
    result = place.run("page")
    assert (result["status"], result["text"], result["head"]) == (200, "several", [200, 0])
    fields = result["headers"]
    assert (fields["set-cookie"], fields["vary"], fields["content-length"]) == (["a=1", "b=2"], "x, y", "7")
    assert not {"connection", "keep-alive", "transfer-encoding"} & set(fields)
    sid, request = heard(node, before, "/several")
    secure = place.carrier == "tls"
    scheme = "https" if secure else "http"
    assert {key: value for key, value in request.items() if not key.startswith("SSL_")} == {
        "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/several", "QUERY_STRING": "b", "SERVER_NAME": "localhost",
        "SERVER_PORT": place.arguments("page")[4], "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": request["REMOTE_PORT"], "HTTP_HOST": "localhost", "HTTP_USER_AGENT": "npm", "HTTP_COOKIE": "x=1; y=2",
        "HTTP_ACCEPT": "a, b", "HTTP_X_ONE": "1", "REQUEST_URI": "/several?b", "REQUEST_SCHEME": scheme,
        # Whatever the client says.
        "HTTP_SCHEME": scheme, "SERVER_SCHEME": scheme,
        "REQUEST_ID": request["REQUEST_ID"], "SPDY_VERSION": place.version} | ({"HTTPS": "on"} if secure else {})
    assert ("SSL_PROTOCOL" in request) == secure
    assert node.wait(b"end", sid=sid)[2] == b"complete"
    place.server.log("access", protocol=f"SPDY/{place.version}", request_id=request["REQUEST_ID"])


def test_a_hundred_requests_at_a_time(place):
    assert place.run("parallel")["answers"] == [f"200 one GET /{n}" for n in range(100)]


def test_pings(place):
    assert place.run("pings") == {"pings": 5, "after": "200 one GET /"}


def test_bodies_there_and_back(place):
    equal = place.run("echo")["equal"]
    assert equal == [True] * (3 if place.version == "2" else 4)


def test_an_upload(place):
    result = place.run("upload")
    assert result["announced"] == result["unannounced"] == result["sent"]
    assert place.version == "2" or result["sent"].startswith(f"200 {10 * MEBIBYTE} ")


def test_a_download_that_is_not_read_for_a_while(place):
    result = place.run("download")
    # Not a byte more than its window, as long as there is one.
    assert result["held"] == (None if place.version == "2" else WINDOW)
    assert (result["beside"], result["after"]) == ("200 one GET /beside", "200 one GET /after")
    assert (result["length"], result["digest"]) == (10 * MEBIBYTE, hashlib.sha256(pattern(10 * MEBIBYTE)).hexdigest())


def test_answers_to_what_was_not_asked(place):
    result = place.run("pushes")
    assert (result["answer"], result["after"]) == ("200 pushed", "200 one GET /after")
    scheme = "https" if place.carrier == "tls" else "http"
    # In SPDY/2 a URL is one piece.
    whole = f"{scheme}://localhost" if place.version == "2" else ""
    assert sorted(result["pushed"], key=lambda push: push["path"]) == [
        {"path": whole + path, "method": "GET", "host": "localhost", "type": kind, "status": 200,
         "digest": hashlib.sha256(body).hexdigest()}
        for path, kind, body in [("/a.css", "text/css", b"a" * 1000 + b"A" * 1000), ("/b.js", "text/javascript", b""),
                                 ("/within.png", "image/png", b"w" * 100_000)]]


def test_pushes_that_are_taken_back(place):
    assert place.run("pushes_taken_back") == {"answer": "200 pushed", "after": "200 one GET /after"}


def test_a_request_that_is_taken_back(place):
    node = place.server.node
    before = mark(node)
    result = place.run("resets")
    assert (result["begun"], result["ended"]) == (200, "Aborted, code: CANCEL")
    assert (result["kept"], result["after"]) == ("200 kept", "200 one GET /after")
    sid, _ = heard(node, before, "/forever")
    assert node.wait(b"end", sid=sid)[2] == b"stream-reset"


def test_an_answer_that_breaks_off(place):
    result = place.run("breaks")
    assert result["before"].startswith("502 ")
    assert (result["within"], result["after"]) == ("Got RST: INTERNAL_ERROR", "200 one GET /after")


def test_the_agent_of_the_spdy_package(place):
    assert place.run("agent")["answers"] == [f"200 one GET /{n}" for n in range(20)]


def test_streams_are_balanced_each_by_itself(place):
    """Between a node that knows much and one that knows nothing."""
    held, lock = [], threading.Lock()

    def holds(node, sid, kind, body):
        if kind != b"uwsgi":
            return
        with lock:
            held.append((node, sid))
            if len(held) < 20:
                return
        for other, sid in held:
            other.send(sid, b"headers", response(other.identity))
            other.send(sid, b"body", other.identity)

    before = place.server.mark()
    with Node(place.server, "left", holds, capabilities=b"body-end end-reason errors") as left, \
            Node(place.server, "right", holds) as right:
        for node in ("left", "right"):
            place.server.log("node-available", after=before, node=node)
        assert collections.Counter(place.run("balanced", "balanced")["answers"]) == {"200 left": 10, "200 right": 10}
        # Nodes hear of it after the clients.
        assert {left.wait(b"end", nth)[2] for nth in range(10)} == {b"complete"}
        assert {right.wait(b"end", nth)[2] for nth in range(10)} == {b""}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_end_of_an_idle_connection(program, tmp_path, carrier, version):
    """Its answers were whole, and what it asks afterwards is not served."""
    certificate, key = certificates.issue(tmp_path, "localhost")
    with Server(program, tmp_path, INI.format(certificate=certificate, key=key, more="")) as server:
        with Node(server, "one", hello).available() as node:
            place = Place(server, tmp_path, carrier, version)
            with subprocess.Popen(list(map(str, place.arguments("goaway"))), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  text=True, env=environment()) as client:
                begun = json.loads(client.stdout.readline())
                assert begun["answers"] == ["200 one GET /1", "200 one GET /2", "200 one GET /3"]
                server.process.send_signal(signal.SIGTERM)
                ended = json.loads(client.communicate(timeout=PATIENCE)[0])
                assert client.returncode == 0
            assert ended["said"] == ("GOAWAY OOB" if version == "2" else [5, "OK"])
            gone = ("socket hang up", "Aborted, code: CANCEL")
            assert ended["later"] in (gone if version == "2" else ("Can't send request after GOAWAY",))
            server.stop()
            assert sum(kind == b"uwsgi" for _, kind, _ in node.messages) == 3


def test_a_version_that_the_server_has_to_find_out(either):
    node = either.server.node
    before = mark(node)
    assert either.run("page")["text"] == "several"
    # That of all which begin so.
    assert heard(node, before, "/several")[1]["SPDY_VERSION"] == ("2" if either.version == "2" else "3.1")
    assert either.run("parallel")["answers"] == [f"200 one GET /{n}" for n in range(100)]
    result = either.run("upload")
    assert result["announced"] == result["unannounced"] == result["sent"]
    result = either.run("download")
    assert (result["held"], result["digest"]) == (
        None if either.version == "2" else WINDOW, hashlib.sha256(pattern(10 * MEBIBYTE)).hexdigest())
    assert (result["beside"], result["after"]) == ("200 one GET /beside", "200 one GET /after")
    assert len(either.run("pushes")["pushed"]) == 3
    result = either.run("resets")
    assert (result["begun"], result["kept"], result["after"]) == (200, "200 kept", "200 one GET /after")


def test_nodes_that_the_server_dials(program, tmp_path):
    certificate, key = certificates.issue(tmp_path, "localhost")
    with Node(None, "one", Site(), endpoint="tcp://127.0.0.1:*", bind=True, announce=False, capabilities=b"body-end") as node:
        ini = INI.replace("zmq = tcp://127.0.0.1:0", f"zmq-connect = {node.bound}")
        ini = ini.format(certificate=certificate, key=key, more="")
        with Server(program, tmp_path, ini) as node.server:
            node.available()
            place = Place(node.server, tmp_path)
            assert place.run("parallel")["answers"] == [f"200 one GET /{n}" for n in range(100)]
            assert len(place.run("pushes")["pushed"]) == 3
