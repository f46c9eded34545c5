"""A proxy between a client and PostgreSQL that breaks connections at the worst moment."""

from __future__ import annotations

import contextlib
import socket
import threading
from enum import Enum
from pathlib import Path

COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
"""The simple query COMMIT (PostgreSQL, message formats)."""


class Break(Enum):
    """What happens to the next COMMIT."""

    NEVER_SENT = "the connection breaks before the server hears it"
    NEVER_ANSWERED = "the server gets it and works on; the client hears no answer"


class PostgresProxy:
    """Listens on a Unix socket in ``folder``; use it as the host of a conninfo."""

    def __init__(self, folder: Path, server: Path, port: int) -> None:
        self.folder = folder
        self._path = folder / f".s.PGSQL.{port}"
        self._upstream = server / f".s.PGSQL.{port}"
        self._next: Break | None = None
        self._open: list[socket.socket] = []
        self.down_after_break = False
        self._refusing = False
        self.broken = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def break_next_commit(self, how: Break, *, stay_down: bool = False) -> None:
        self.broken.clear()
        self.down_after_break = stay_down
        self._next = how

    def up(self) -> None:
        """Accept connections again."""
        self._refusing = False

    def cut(self) -> None:
        """Break every connection that is open now."""
        for end in self._open:
            _close(end)
        self._open.clear()

    def close(self) -> None:
        _close(self._listener)
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing:
                _close(client)
                continue
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(self._upstream))
            self._open += [client, server]
            threading.Thread(target=self._forward, args=(client, server), daemon=True).start()
            threading.Thread(target=self._back, args=(server, client), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self._next is not None and data.endswith(COMMIT):
                    how, self._next = self._next, None
                    self._refusing = self.down_after_break
                    # The client goes first: a quick answer must not get through.
                    _close(client)
                    if how is Break.NEVER_ANSWERED:
                        self._open.remove(server)  # the server works on, even if everything is cut
                        server.sendall(data)
                    else:
                        _close(server)
                    self.broken.set()
                    return
                server.sendall(data)
        _close(server)

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
        _close(client)


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
