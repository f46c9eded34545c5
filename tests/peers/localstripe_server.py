"""Start the localstripe program on loopback. Run with the peers' Python: ``localstripe_server.py PORT``.

The program is upstream's, run as its own command would. It has no option for two things that a test needs,
so the standard library beneath it is told: it listens on IPv4 loopback instead of every interface, and what
it stores stays in memory instead of one fixed file that two runs would share.
"""

from __future__ import annotations

import builtins
import os
import pickle
import runpy
import socket
import sys
from typing import Any

_STORE = "/tmp/localstripe.pickle"
_open = builtins.open


class _LoopbackSocket(socket.socket):
    def bind(self, address: Any) -> None:
        if self.family == socket.AF_INET6 and address[0] == "::":
            # A mapped address needs no IPv6 on the machine.
            address = ("::ffff:127.0.0.1", *address[1:])
        super().bind(address)


def _open_elsewhere(file: Any, *arguments: Any, **options: Any) -> Any:
    return _open(os.devnull if file == _STORE else file, *arguments, **options)


def main() -> None:
    socket.socket = _LoopbackSocket  # the program makes its own socket
    builtins.open = _open_elsewhere
    pickle.dump = lambda *_, **__: None
    sys.argv = ["localstripe", "--from-scratch", "--port", sys.argv[1]]
    runpy.run_module("localstripe", run_name="__main__")


if __name__ == "__main__":
    main()
