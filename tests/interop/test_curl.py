"""curl as the client."""

import json
import subprocess

from blastbeat import PATIENCE, Echo, Node, hello, packet, response
from conftest import ONE_HOST

NEVER = 1000
"""Seconds, of which curl does not wait that many."""


def curl(*arguments, data=None):
    """Runs curl: its standard output, and one record of facts for each transfer."""
    command = ["curl", "--silent", "--show-error", "--max-time", str(int(PATIENCE)), "--noproxy", "*",
               "--write-out", "%{stderr}%{json}\n", *map(str, arguments)]
    done = subprocess.run(command, input=data, capture_output=True, timeout=2 * PATIENCE, check=False)
    # Parallel transfers draw a progress meter in front of some of them.
    facts = [json.loads(line[line.index(b"{"):]) for line in done.stderr.splitlines() if b"{" in line]
    assert done.returncode == 0, done.stderr
    return done.stdout, facts


def test_a_page(start):
    server = start()
    with Node(server, "one", hello).available() as node:
        body, (facts,) = curl(server.url + "/x?y")
        assert (body, facts["response_code"], facts["http_version"]) == (b"one GET /x?y", 200, "1.1")
        assert packet(node.wait(b"uwsgi")[2])["HTTP_USER_AGENT"].startswith("curl/")


def test_several_pages_on_one_connection(start):
    server = start()
    with Node(server, "one", hello).available():
        body, facts = curl(*[f"{server.url}/{n}" for n in range(5)])
        assert body == b"".join(b"one GET /%d" % n for n in range(5))
        assert [fact["num_connects"] for fact in facts] == [1, 0, 0, 0, 0]


def test_head(start):
    server = start()
    with Node(server, "one", hello).available():
        head, facts = curl("--head", server.url + "/a", server.url + "/b")
        assert head == 2 * response(b"one HEAD /a")
        assert [fact["num_connects"] for fact in facts] == [1, 0]


def test_http_1_0(start):
    server = start()
    with Node(server, "one", hello).available():
        head_and_body, (facts,) = curl("--http1.0", "--include", server.url + "/")
        assert head_and_body.startswith(b"HTTP/1.0 200 OK\r\n") and head_and_body.endswith(b"\r\n\r\none GET /")


def test_an_unframed_response_to_http_1_0_ends_with_the_connection(start):
    server = start()

    def unframed(node, sid, kind, body):
        if kind == b"uwsgi":
            node.reply(sid, b"headers", b"HTTP/1.1 200 OK\r\n\r\n")
            node.reply(sid, b"body", b"to the ")
            node.reply(sid, b"body", b"end")
            node.reply(sid, b"end")

    with Node(server, "one", unframed).available():
        old, _ = curl("--http1.0", "--include", server.url + "/")
        assert old == b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nto the end"
        new, facts = curl(server.url + "/", server.url + "/")
        assert new == 2 * b"to the end"
        assert [fact["num_connects"] for fact in facts] == [1, 0]


def test_an_upload_that_waits_for_100_continue(start, tmp_path):
    server = start()
    body = b"0123456789" * 300_000
    (tmp_path / "upload").write_bytes(body)
    with Node(server, "one", Echo()).available() as node:
        back, (facts,) = curl("--header", "Expect: 100-continue", "--expect100-timeout", NEVER, "--upload-file",
                              tmp_path / "upload", server.url + "/")
        assert facts["response_code"] == 200
        assert back == body
        assert packet(node.wait(b"uwsgi")[2])["REQUEST_METHOD"] == "PUT"


def test_an_upload_too_large_is_refused_before_it_is_sent(start, tmp_path):
    server = start(ONE_HOST.replace("ping-freq", "max-body = 1000\nping-freq"))
    (tmp_path / "upload").write_bytes(bytes(3_000_000))
    with Node(server, "one", Echo()).available() as node:
        body, (facts,) = curl("--header", "Expect: 100-continue", "--expect100-timeout", NEVER, "--upload-file",
                              tmp_path / "upload", server.url + "/")
        assert (facts["response_code"], facts["size_upload"]) == (413, 0)
        assert b"body-too-large" in body
        assert [message for message in node.messages if message[1] == b"uwsgi"] == []


def test_a_chunked_upload(start):
    server = start()
    with Node(server, "one", Echo(), capabilities=b"body-end").available():
        body, (facts,) = curl("--upload-file", "-", server.url + "/", data=b"x" * 500_000)
        assert (body, facts["response_code"]) == (b"x" * 500_000, 200)


def test_many_at_once(start):
    server = start()
    with Node(server, "one", hello).available(), Node(server, "two", hello).available():
        _, facts = curl("--parallel", "--parallel-max", "40", f"{server.url}/[1-200]", "--output", "/dev/null")
        assert [fact["response_code"] for fact in facts] == [200] * 200


def test_a_unix_socket(start, tmp_path):
    server = start(f"bind = unix:{tmp_path}/web\n" + ONE_HOST)
    with Node(server, "one", hello).available():
        assert curl("--unix-socket", tmp_path / "web", "http://127.0.0.1/here")[0] == b"one GET /here"


def test_the_proxy_protocol(start):
    server = start(ONE_HOST.replace("bind = 127.0.0.1:0", "bind = 127.0.0.1:0 proxy"))
    with Node(server, "one", hello).available() as node:
        assert curl("--haproxy-protocol", server.url + "/")[0] == b"one GET /"
        assert packet(node.wait(b"uwsgi")[2])["REMOTE_ADDR"] == "127.0.0.1"


def test_an_unknown_host(start):
    server = start()
    body, (facts,) = curl("--header", "Host: elsewhere", "--header", "Accept: text/html", server.url + "/")
    assert (facts["response_code"], facts["content_type"].split(";")[0]) == (404, "text/html")
    assert b"host-unknown" in body


def test_no_node(start):
    body, (facts,) = curl(start().url + "/")
    assert (facts["response_code"], facts["content_type"].split(";")[0]) == (503, "text/plain")
    assert b"node-missing" in body
