"""TLS as curl and OpenSSL (Python's ssl) see it."""

import hashlib
import signal
import socket
import ssl
import subprocess

import pytest
import trustme

import certificates
from blastbeat import PATIENCE, Echo, Node, hello, packet
from conftest import BOTH_WAYS
from frames import Wire
from test_curl import curl

MEBIBYTE = 1024 * 1024


@pytest.fixture
def trusting(tmp_path):
    """Runs curl with trust in the tests' authority."""
    roots = certificates.roots(tmp_path)
    return lambda *arguments, **options: curl("--cacert", roots, *arguments, **options)


def refused(*arguments):
    """Runs a curl that gets nothing, and returns its exit code."""
    done = subprocess.run(["curl", "--silent", "--noproxy", "*", "--max-time", str(int(PATIENCE)), "--output", "/dev/null",
                           *map(str, arguments)], stdin=subprocess.DEVNULL, timeout=2 * PATIENCE, check=False)
    assert done.returncode != 0
    return done.returncode


@pytest.mark.parametrize("http", ["--http1.1", "--http2"])
@pytest.mark.parametrize("tls", ["1.2", "1.3"])
def test_versions(serving, trusting, http, tls):
    server = serving()
    with Node(server, "one", hello).available() as node:
        body, facts = trusting(http, f"--tlsv{tls}", "--tls-max", tls, server.tls_url + "/a", server.tls_url + "/b")
        assert body == b"one GET /aone GET /b"
        assert [(fact["response_code"], fact["http_version"], fact["num_connects"]) for fact in facts] == [
            (200, http[6:], 1), (200, http[6:], 0)]
        request = packet(node.wait(b"uwsgi")[2])
        assert (request["HTTPS"], request["REQUEST_SCHEME"]) == ("on", "https")
        assert request.get("HTTP2") == ("on" if http == "--http2" else None)


def test_http_2_in_clear_text(serving, trusting):
    server = serving()
    with Node(server, "one", hello).available():
        url = f"http://localhost:{server.port}/x"
        _, facts = trusting("--http2-prior-knowledge", url)
        assert facts[0]["http_version"] == "2"
        # Asked by an upgrade, it stays with what was spoken.
        body, facts = trusting("--http2", url)
        assert (body, facts[0]["http_version"]) == (b"one GET /x", "1.1")


@pytest.mark.parametrize("how", [("--http1.1",), ("--http2",), ("--http2-prior-knowledge",)], ids=["http1", "http2", "clear"])
def test_twenty_mebibytes_there_and_back(serving, trusting, tmp_path, how):
    server = serving()
    data = bytes(range(256)) * (20 * MEBIBYTE // 256)
    (tmp_path / "upload").write_bytes(data)
    with Node(server, "one", Echo()).available():
        url = server.tls_url if how != ("--http2-prior-knowledge",) else f"http://localhost:{server.port}"
        back, (facts,) = trusting(*how, "--upload-file", tmp_path / "upload", url + "/")
        assert (facts["response_code"], facts["size_upload"]) == (200, len(data))
        assert back == data


def test_many_at_once_on_one_connection(serving, trusting):
    server = serving()
    with Node(server, "one", hello).available():
        _, facts = trusting("--http2", "--parallel", "--parallel-max", "50", f"{server.tls_url}/[1-200]", "--output", "/dev/null")
        assert [fact["response_code"] for fact in facts] == [200] * 200
        assert sum(fact["num_connects"] for fact in facts) < 10


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1], ids=["1.0", "1.1"])
def test_old_versions_are_refused(serving, version):
    server = serving()
    context = certificates.client()
    # OpenSSL would not even ask otherwise.
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with pytest.raises(ssl.SSLError) as failure:
        Wire(server.tls_port, context)
    assert failure.value.reason == "TLSV1_ALERT_PROTOCOL_VERSION"
    server.log("client-refused", cause="tls-negotiation")


@pytest.mark.parametrize("ciphers", ["AES128-SHA", "AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-SHA", "ADH-AES128-SHA256", "NULL-SHA256"])
def test_weak_suites_are_refused(serving, ciphers):
    server = serving()
    context = certificates.client(version=ssl.TLSVersion.TLSv1_2)
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError) as failure:
        Wire(server.tls_port, context)
    assert failure.value.reason == "SSLV3_ALERT_HANDSHAKE_FAILURE"
    server.log("client-refused", cause="tls-negotiation")


def test_the_server_chooses_the_suite(serving):
    server = serving()
    context = certificates.client(version=ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256")
    assert Wire(server.tls_port, context).tls.cipher()[0] == "ECDHE-ECDSA-AES128-GCM-SHA256"


def test_no_protocol_in_common(serving):
    server = serving()
    with pytest.raises(ssl.SSLError) as failure:
        Wire(server.tls_port, certificates.client(["spdy/3"]))
    assert "alert no application protocol" in str(failure.value)
    server.log("client-refused", cause="tls-negotiation")


def test_clear_text_where_tls_is_spoken(serving):
    server = serving()
    wire = Wire(server.tls_port)
    wire.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    # A fatal alert, and not a reset that would eat it.
    answer = wire.wait_for_end()
    assert answer[:1] == b"\x15" and answer[5:6] == b"\x02" and len(answer) == 7
    assert not wire.was_reset
    server.log("client-refused", cause="not-tls")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_a_session_is_taken_up_again(serving, version):
    server = serving()
    with Node(server, "one", hello).available():
        context = certificates.client(version=version)
        known, reused = None, []
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", server.tls_port), timeout=PATIENCE) as plain:
                with context.wrap_socket(plain, server_hostname="localhost", session=known) as secure:
                    secure.sendall(b"GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    answer = b"".join(iter(lambda: secure.recv(65536), b""))
                    assert answer.endswith(b"\r\n\r\none GET /x")
                    known = secure.session
                    reused.append(secure.session_reused)
        assert reused == [False, True, True]


def test_the_end_is_said(serving):
    """close_notify stands behind the last answer: nobody can have cut it."""
    server = serving()
    with Node(server, "one", hello).available():
        wire = Wire(server.tls_port, certificates.client())
        wire.write(b"GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert wire.wait_for_end().endswith(b"\r\n\r\none GET /x")
        # A cut would be an error here.
        assert wire.failure is None and not wire.was_reset


def test_a_farewell_behind_unread_input(serving):
    """Who is refused in the middle of an upload sees the answer, and the end of TLS."""
    server = serving("max-body = 1000")
    with Node(server, "one", hello).available():
        wire = Wire(server.tls_port, certificates.client())
        wire.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n" + bytes(200_000))
        wire.flush()
        assert wire.wait_for_end().startswith(b"HTTP/1.1 413 ")
        assert wire.failure is None and not wire.was_reset


def test_names(start, trusting, tmp_path):
    """Each host shows its own certificate, and is served by its own node."""
    hosts = {"a.example": "a.example", "*.b.example": "x.b.example", "*": "localhost"}
    sections = ""
    for name, asked in hosts.items():
        certificate, key = certificates.issue(tmp_path, asked if name == "*" else name)
        sections += f"[blastbeat:{name}]\ncertificate = {certificate}\nkey = {key}\nnode = node-{asked}\n"
    server = start(BOTH_WAYS + sections)
    for asked in hosts.values():
        with Node(server, f"node-{asked}", hello).available():
            for http in ("--http1.1", "--http2"):
                url = f"https://{asked}:{server.tls_port}/"
                body, _ = trusting(http, "--resolve", f"{asked}:{server.tls_port}:127.0.0.1", url)
                assert body == f"node-{asked} GET /".encode()


@pytest.mark.parametrize("strict", ["on", "off"])
def test_an_unknown_name(serving, strict):
    server = serving(f"sni-strict = {strict}")
    context = certificates.client()
    context.check_hostname = False
    if strict == "on":
        with pytest.raises(ssl.SSLError) as failure:
            Wire(server.tls_port, context, "elsewhere.example")
        assert failure.value.reason == "TLSV1_UNRECOGNIZED_NAME"
        server.log("client-refused", cause="tls-name-unknown")
    else:
        wire = Wire(server.tls_port, context, "elsewhere.example")
        wire.write(b"GET / HTTP/1.1\r\nHost: elsewhere.example\r\nConnection: close\r\n\r\n")
        assert wire.wait_for_end().startswith(b"HTTP/1.1 421 ")


@pytest.fixture
def guests(tmp_path):
    """An authority for clients, and the certificate of one."""
    authority = trustme.CA(organization_name="Guests")
    folder = tmp_path / "guests"
    folder.mkdir()
    certificate, key = certificates.issue(folder, "ann@example.org", authority=authority, common_name="Ann")
    return certificates.roots(folder, authority), certificate, key


@pytest.mark.parametrize("http", ["--http1.1", "--http2"])
def test_certificates_of_clients(serving, trusting, guests, http):
    roots, certificate, key = guests
    server = serving(host=f"client-ca = {roots}")
    with Node(server, "one", hello).available() as node:
        trusting(http, "--cert", certificate, "--key", key, server.tls_url)
        request = packet(node.wait(b"uwsgi")[2])
        assert request["SSL_CLIENT_VERIFY"] == "SUCCESS" and "CN=Ann" in request["SSL_CLIENT_S_DN"]
        shown = ssl.PEM_cert_to_DER_cert(certificate.read_text()[:certificate.read_text().index("-----END")] + "-----END CERTIFICATE-----\n")
        assert request["SSL_CLIENT_FINGERPRINT"].replace(":", "").lower() == hashlib.sha256(shown).hexdigest()


def test_certificates_that_clients_need_not_show(serving, trusting, guests):
    roots, certificate, key = guests
    server = serving(host=f"client-ca = {roots}\nclient-auth = optional")
    with Node(server, "one", hello).available() as node:
        trusting(server.tls_url)
        request = packet(node.wait(b"uwsgi")[2])
        assert request["SSL_CLIENT_VERIFY"] == "NONE" and "SSL_CLIENT_S_DN" not in request
        trusting("--cert", certificate, "--key", key, server.tls_url)
        assert "CN=Ann" in packet(node.wait(b"uwsgi", 1)[2])["SSL_CLIENT_S_DN"]


def test_without_a_certificate(serving, tmp_path, guests):
    roots, *_ = guests
    server = serving(host=f"client-ca = {roots}")
    with Node(server, "one", hello).available() as node:
        refused("--cacert", certificates.roots(tmp_path), server.tls_url)
        server.log("client-refused", cause="tls-certificate-missing")
        # One of others is no better.
        certificate, key = certificates.issue(tmp_path, "eve@example.org")
        refused("--cacert", certificates.roots(tmp_path), "--cert", certificate, "--key", key, server.tls_url)
        server.log("client-refused", cause="tls-certificate-refused")
        assert [message for message in node.messages if message[1] == b"uwsgi"] == []


def test_another_host_than_the_one_whose_guests_were_checked(start, tmp_path, guests):
    """By one name through the door, then to another's table."""
    roots, *_ = guests
    certificate, key = certificates.issue(tmp_path, "open.example", "closed.example")
    server = start(BOTH_WAYS + f"certificate = {certificate}\nkey = {key}\n[blastbeat:open.example]\nnode = one\n"
                   f"[blastbeat:closed.example]\nnode = two\nclient-ca = {roots}\n")
    with Node(server, "two", hello).available() as node:
        wire = Wire(server.tls_port, certificates.client(), "open.example")
        wire.write(b"GET / HTTP/1.1\r\nHost: closed.example\r\nConnection: close\r\n\r\n")
        assert wire.wait_for_end().startswith(b"HTTP/1.1 421 ")
        assert [message for message in node.messages if message[1] == b"uwsgi"] == []


def test_hsts_and_the_way_to_tls(serving, trusting):
    server = serving(host="hsts = 31536000 includeSubDomains\nhttps-redirect = on")
    with Node(server, "one", hello).available():
        for http in ("--http1.1", "--http2"):
            head, _ = trusting(http, "--include", server.tls_url)
            assert b"strict-transport-security: max-age=31536000; includesubdomains\r\n" in head.lower()
        _, (facts,) = trusting(f"http://localhost:{server.port}/a?b")
        assert (facts["response_code"], facts["redirect_url"]) == (308, f"https://localhost:{server.tls_port}/a?b")


def test_a_certificate_is_renewed(start, trusting, tmp_path):
    """New connections see the new one, and those that are open live on."""
    certificate, key = certificates.issue(tmp_path, "localhost")
    server = start(BOTH_WAYS + f"certificate = {certificate}\nkey = {key}\n[blastbeat:localhost]\nnode = one\n")

    def shown():
        wire = Wire(server.tls_port, certificates.client())
        return wire.tls.getpeercert()["serialNumber"], wire

    with Node(server, "one", hello).available():
        before, wire = shown()
        mark = server.mark()
        certificates.issue(tmp_path, "localhost")
        server.process.send_signal(signal.SIGHUP)
        server.log("certificates-renewed", after=mark)
        after, _ = shown()
        assert before != after
        wire.write(b"GET /old HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert wire.wait_for_end().endswith(b"one GET /old")
        assert trusting(server.tls_url + "/new")[0] == b"one GET /new"
