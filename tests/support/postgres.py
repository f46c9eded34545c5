"""A PostgreSQL server of the tests' own, from the binaries on the machine.

`postgres_server` is a session fixture; import it into a package's conftest. All conftests share one server
of the process. It listens on a Unix socket in a folder of its own and is stopped with the process.
"""

from __future__ import annotations

import atexit
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

PORT = 5432
"""Only part of the socket's file name: the server does not listen on the network."""

# Its standard input ends when the tests' process does, however that ended.
_WATCHDOG = """
cat > /dev/null
if [ "$(head -n 1 "$2/data/postmaster.pid" 2>/dev/null)" = "$1" ]; then
    kill -INT "$1"
    while [ -e "$2/data/postmaster.pid" ]; do sleep 0.1; done
fi
rm -rf "$2"
"""


class PostgresServer:
    """A running server. ``conninfo(database)`` is a libpq connection string."""

    def __init__(self, binaries: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="vitrine-pg-", dir="/tmp"))
        self._owner = _unprivileged_user()
        self._numbers = itertools.count(1)
        if self._owner is not None:
            shutil.chown(self._folder, self._owner)
        data = self._folder / "data"
        self._run(
            [
                *(binaries / "initdb", "--no-sync", "-D", data, "-U", "vitrine"),
                *("-A", "trust", "-E", "UTF8", "--locale=C"),
            ]
        )
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": self._folder,
            "port": PORT,
            "max_connections": 60,
            "shared_buffers": "32MB",
            "deadlock_timeout": "50ms",
            # Tests kill clients, never this server; databases are made and dropped much faster like this.
            "fsync": "off",
        }
        command: list[object] = [binaries / "postgres", "-D", data]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        self._log = (self._folder / "log").open("wb")
        self._process = subprocess.Popen(
            [str(part) for part in command],
            stdout=self._log,
            stderr=self._log,
            user=self._owner,
            group=None if self._owner is None else pwd.getpwnam(self._owner).pw_gid,
            extra_groups=None if self._owner is None else [],
            cwd=self._folder,
            start_new_session=True,
        )
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHDOG, "watchdog", str(self._process.pid), str(self._folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self._wait_until_ready()

    @property
    def folder(self) -> Path:
        """Where the server's socket is."""
        return self._folder

    def conninfo(self, database: str = "postgres", *, host: Path | None = None) -> str:
        return f"host={host or self._folder} port={PORT} user=vitrine dbname={database}"

    def url(self, database: str = "postgres") -> str:
        """The same as a SQLAlchemy URL."""
        return f"postgresql+psycopg://vitrine@/{database}?host={self._folder}&port={PORT}"

    def create_database(self, template: str = "template0") -> str:
        """Make a database for one test and return its name."""
        import psycopg

        name = f"t{next(self._numbers)}"
        with psycopg.connect(self.conninfo(), autocommit=True) as raw:
            raw.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop_database(self, name: str) -> None:
        import psycopg

        with psycopg.connect(self.conninfo(), autocommit=True) as raw:
            raw.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    @contextmanager
    def database(self, template: str = "template0") -> Iterator[str]:
        """A database for one test; the value is its conninfo."""
        name = self.create_database(template)
        try:
            yield self.conninfo(name)
        finally:
            self.drop_database(name)

    def stop(self) -> None:
        """Stop the server and remove its folder."""
        self._watchdog.kill()
        self._watchdog.wait()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)  # fast shutdown
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait(10)
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, command: list[object]) -> None:
        done = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            check=False,
            user=self._owner,
            extra_groups=None if self._owner is None else [],
            cwd=self._folder,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _wait_until_ready(self) -> None:
        import psycopg

        give_up_at = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.conninfo()).close()
            except psycopg.OperationalError:
                log = (self._folder / "log").read_text()
                assert self._process.poll() is None, log
                assert time.monotonic() < give_up_at, log
                time.sleep(0.05)
            else:
                return


def _unprivileged_user() -> str | None:
    """PostgreSQL refuses to run as root; then it runs as one of these."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise AssertionError("running as root, and neither postgres nor nobody exists")


def find_binaries() -> Path | None:
    """Return the folder that holds initdb and postgres, the newest if there are several."""
    folders: list[Path] = []
    on_path = shutil.which("postgres")
    if on_path:
        folders.append(Path(on_path).resolve().parent)
    pg_config = shutil.which("pg_config")
    if pg_config:
        asked = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)
        folders.append(Path(asked.stdout.strip()))
    known = Path("/usr/lib/postgresql").glob("*/bin")
    folders += sorted(known, key=lambda folder: float(folder.parent.name), reverse=True)
    for folder in folders:
        if (folder / "initdb").is_file() and (folder / "postgres").is_file():
            return folder
    return None


@cache
def shared_server() -> PostgresServer | None:
    """Return the one server of this process, started on first use; None without binaries."""
    binaries = find_binaries()
    if binaries is None:
        return None
    server = PostgresServer(binaries)
    atexit.register(server.stop)
    return server


def require_server() -> PostgresServer:
    """Return the server, or skip the test and say what is missing."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: install the extra 'postgres'")
    server = shared_server()
    if server is None:
        pytest.skip("PostgreSQL is not installed (no initdb and postgres found): its tests did not run")
    return server


@pytest.fixture(scope="session")
def postgres_server() -> PostgresServer:
    return require_server()
