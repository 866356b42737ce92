"""What all sieges have in common: servers under attack, and an account of what an attack costs them."""

import pytest

MEBIBYTE = 1024 * 1024


def besieged(name, fortress, *more):
    """A fixture: one server of each program for all attacks of a module, which it has to withstand together."""
    @pytest.fixture(scope="module", params=["blastbeat-mio", "blastbeat-smol"], name=name)
    def serve(request, tmp_path_factory):
        with fortress(request.param, tmp_path_factory.mktemp(name), *more) as server:
            yield server
    return serve


class Account:
    """Memory and seconds of CPU that an attack may cost."""

    def __init__(self, server, memory=8 * MEBIBYTE, seconds=3.0):
        self.server, self.memory, self.seconds = server, memory, seconds

    def open(self):
        self.mark = self.server.mark()
        self.before, self.spent = self.server.memory(), self.server.seconds()

    def settle(self):
        assert self.server.seconds() - self.spent < self.seconds
        assert self.server.memory() - self.before < self.memory
