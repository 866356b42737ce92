"""A part of the Autobahn suite that takes seconds; `tests/run autobahn` runs all of it."""

from autobahn import INI, echo_node, faults, run

CORE = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"]
LIMITS = ["9.*"]
COMPRESSED = ["12.1.1", "12.3.1", "12.5.1", "13.1.1", "13.3.1", "13.5.1", "13.7.1"]


def check(start, tmp_path, cases, count, deflate):
    server = start(INI.format(deflate=deflate))
    with echo_node(server):
        results = run(server, cases, tmp_path / "report", limit=300)
    assert len(results) == count
    assert not faults(results)


def test_the_core(start, tmp_path):
    check(start, tmp_path, CORE, 247, "off")


def test_the_limits(start, tmp_path):
    check(start, tmp_path, LIMITS, 54, "off")


def test_compression(start, tmp_path):
    check(start, tmp_path, COMPRESSED, 7, "context")
