"""The Autobahn test suite against an echo node behind one of the programs, by kosoku.

    python tests/interop/autobahn.py PROGRAM [CASES...]

CASES are patterns as `7.*`; without any, all 517 are run. Needs BLASTBEAT_TARGET, as the interop suite does; `tests/run
autobahn` sets it. Ends with 0 if no case failed and none is unimplemented.
"""

import collections
import contextlib
import json
import pathlib
import subprocess
import sys
import sysconfig
import tempfile

from blastbeat import Server

INI = """\
bind = 127.0.0.1:0
zmq = tcp://127.0.0.1:0
websocket-ping = 0
websocket-farewell-delay = 0.5
access-log = off
[blastbeat:127.0.0.1]
node = one
websocket-deflate = {deflate}
"""

GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}

NOT_STRICT = {"6.4.1", "6.4.2", "6.4.3", "6.4.4"}
"""Cases of UTF-8 that may be noticed at once or at the message's end; who notices at once gets OK."""

INFORMATIONAL = {"7.1.6", "7.13.1", "7.13.2"}
"""Cases that have no right answer."""


@contextlib.contextmanager
def echo_node(server, name="one"):
    """An echo node in a process of its own."""
    script = pathlib.Path(__file__).with_name("echo_node.py")
    node = subprocess.Popen([sys.executable, script, server.endpoint, name], stdin=subprocess.DEVNULL)
    try:
        server.log("node-available", node=name)
        yield node
    finally:
        node.kill()
        node.wait()


def run(server, cases, folder, limit):
    """Runs the cases that match; returns each with its behaviour and that of its close."""
    kosoku = pathlib.Path(sysconfig.get_path("scripts")) / "kosoku"
    chosen = [word for case in cases for word in ("-i", case)]
    done = subprocess.run([kosoku, "-m", "fuzzingclient", "-p", "2", *chosen, "-o", folder, f"127.0.0.1:{server.port}"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit, check=False)
    index = pathlib.Path(folder) / "index.json"
    assert index.exists(), f"kosoku ended with {done.returncode}\n{done.stdout}{done.stderr}"
    (results,) = json.loads(index.read_text()).values()
    return {case: (result["behavior"], result["behaviorClose"]) for case, result in results.items()}


def faults(results):
    """The cases that did not go as they should."""
    found = {}
    for case, (behavior, close) in results.items():
        fine = behavior == "OK" or behavior == "NON-STRICT" and case in NOT_STRICT
        fine = fine or behavior == "INFORMATIONAL" and case in INFORMATIONAL
        if not fine or close not in GOOD:
            found[case] = (behavior, close)
    return found


def main(program, *cases):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        with Server(program, folder, INI.format(deflate="context")) as server, echo_node(server):
            results = run(server, cases, folder / "report", limit=3600)
    counts = collections.Counter(behavior for behavior, _ in results.values())
    print(f"{program}: {len(results)} cases,", ", ".join(f"{count} {name}" for name, count in sorted(counts.items())))
    bad = faults(results)
    for case, (behavior, close) in bad.items():
        print(f"  {case}: {behavior}, at the close {close}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
