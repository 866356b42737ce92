"""The programs as a user meets them: the built-in page, --check, --version, a tape and its replay."""

import os
import subprocess

from blastbeat import PATIENCE, TARGET, Node, Server, hello
from test_curl import curl


def run(program, *arguments):
    return subprocess.run([TARGET / program, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=2 * PATIENCE, check=False)


def test_version_and_help(program):
    version, help_text = run(program, "--version"), run(program, "--help")
    assert version.returncode == help_text.returncode == 0
    assert version.stdout.startswith(f"{program} ")
    for flag in ("--check", "--lenient", "--tape", "--replay"):
        assert flag in help_text.stdout


def test_check_accepts_its_own_output(program, tmp_path):
    ini = tmp_path / "a.ini"
    ini.write_text("[blastbeat]\nbind = 127.0.0.1:0\nzmq = tcp://127.0.0.1:0\n[blastbeat:a]\nnode = one\n[other]\nx = y\n")
    first = run(program, "--check", ini)
    assert first.returncode == 0, first.stderr
    again = tmp_path / "b.ini"
    again.write_text(first.stdout)
    assert run(program, "--check", again).stdout == first.stdout


def test_check_names_every_problem_with_its_line(program, tmp_path):
    ini = tmp_path / "a.ini"
    ini.write_text("[blastbeat]\nbind = 127.0.0.1:0\nzmq = nonsense\nsesions = 3\ntimeout = soon\n")
    done = run(program, "--check", ini)
    assert done.returncode == 1
    text = done.stdout + done.stderr
    for what in (f"{ini}:3: zmq", f"{ini}:4: sesions", "sessions", f"{ini}:5: timeout"):
        assert what in text
    assert run(program, ini).returncode == 1


def test_an_unknown_user_is_fatal_for_root_and_named(program, tmp_path):
    ini = tmp_path / "a.ini"
    ini.write_text("[blastbeat]\nuid = no-such-user\nbind = 127.0.0.1:0\nzmq = tcp://127.0.0.1:0\n"
                   "[blastbeat:a]\nnode = one\n")
    if os.getuid() == 0:
        done = run(program, ini)
        assert done.returncode != 0
        assert "uid" in done.stderr and "no-such-user" in done.stderr
    else:
        assert run(program, "--check", ini).returncode == 0


def test_a_recorded_run_replays_equal(program, tmp_path):
    ini = "bind = 127.0.0.1:0\nzmq = tcp://127.0.0.1:0\n[blastbeat:127.0.0.1]\nnode = one\n"
    tape = tmp_path / "run.tape"
    with Server(program, tmp_path, ini, "--tape", tape) as server:
        with Node(server, "one", hello).available():
            assert curl(*[f"{server.url}/{n}" for n in range(20)])[0] == b"".join(b"one GET /%d" % n for n in range(20))
            curl("--http1.0", server.url)
    assert tape.stat().st_mode & 0o777 == 0o600
    replayed = run(program, "--replay", tape)
    assert (replayed.returncode, "equal" in replayed.stdout + replayed.stderr) == (0, True), replayed

    spoilt = bytearray(tape.read_bytes())
    at = spoilt.index(b"one GET /7")
    spoilt[at:at + 3] = b"two"
    (tmp_path / "spoilt.tape").write_bytes(spoilt)
    assert run(program, "--replay", tmp_path / "spoilt.tape").returncode != 0
