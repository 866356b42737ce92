import contextlib

import pytest

import certificates
from blastbeat import Server
from frames import Wire

# A node that is silent for three times this long gets nothing new: no node of a test is ever so slow.
ONE_HOST = """\
bind = 127.0.0.1:0
zmq = tcp://127.0.0.1:0
ping-freq = 100
[blastbeat:127.0.0.1]
node = one
node = two
"""


@pytest.fixture(params=["blastbeat-mio", "blastbeat-smol"])
def program(request):
    return request.param


@pytest.fixture
def start(program, tmp_path):
    """Starts servers; each has to end well when the test is over."""
    with contextlib.ExitStack() as stack:
        yield lambda ini=ONE_HOST: stack.enter_context(Server(program, tmp_path, ini))
        # A server that ends waits for clients that are still there.
        Wire.close_all()


BOTH_WAYS = """\
bind = 127.0.0.1:0 h2c
bind-ssl = 127.0.0.1:0
zmq = tcp://127.0.0.1:0
ping-freq = 100
"""


@pytest.fixture
def serving(start, tmp_path):
    """Starts servers of localhost, in clear text and by TLS; with more lines for all, or for the host."""
    certificate, key = certificates.issue(tmp_path, "localhost")

    def serving(more="", host=""):
        return start(BOTH_WAYS + f"certificate = {certificate}\nkey = {key}\n{more}\n"
                                 f"[blastbeat:localhost]\nnode = one\n{host}\n")

    return serving


@pytest.fixture(params=["clear", "tls"])
def carrier(request):
    return request.param
