"""Programs of others that tests talk to: localstripe, moto, Beancount.

They live in an environment of their own, ``.venv-peers``, made on first use from `tests/peers/requirements.lock`,
and run as processes of their own on loopback: nothing of ours imports them. Where the environment can not be
made, the tests that need it are skipped and the closing list says why.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import httpx
import pytest

_ROOT = Path(__file__).parents[2]
_FOLDER = _ROOT / ".venv-peers"
_LOCK = _ROOT / "tests" / "peers" / "requirements.lock"
_READY_WITHIN_S = 30


def peer_python() -> Path:
    """Return the Python of the peers' environment, or skip the test and say what is missing."""
    problem = _made()
    if problem is not None:
        pytest.skip(f"the peers' programs could not be installed, their tests did not run: {problem}")
    return _FOLDER / "bin" / "python"


def peer_program(name: str) -> Path:
    """Return a program of the peers' environment (``bean-check``), or skip the test."""
    return peer_python().parent / name


@contextmanager
def localstripe() -> Iterator[str]:
    """A Stripe-compatible provider; the value is its base URL. Keys are any ``sk_test_...``."""
    port = free_port()
    command = [peer_python(), _ROOT / "tests" / "peers" / "localstripe_server.py", port]
    with _running(command, f"http://127.0.0.1:{port}", "/js.stripe.com/v3/") as url:
        yield url


@contextmanager
def moto_server() -> Iterator[str]:
    """A server of the shape of AWS; the value is its base URL. It takes any credentials."""
    port = free_port()
    command = [peer_program("moto_server"), "-H", "127.0.0.1", "-p", port]
    with _running(command, f"http://127.0.0.1:{port}", "/moto-api/") as url:
        yield url


def bean_check(ledger: Path) -> subprocess.CompletedProcess[str]:
    """Run Beancount's own check on a file. Exit code 0: no complaint."""
    return subprocess.run(
        [peer_program("bean-check"), ledger], capture_output=True, text=True, check=False, timeout=120
    )


def free_port() -> int:
    """A TCP port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _running(command: list[object], url: str, path: str) -> Iterator[str]:
    """Start a server, wait until it answers under ``path``, stop it at the end."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log)
        try:
            give_up_at = time.monotonic() + _READY_WITHIN_S
            while not _answers(url + path):
                if process.poll() is not None or time.monotonic() > give_up_at:
                    log.seek(0)
                    raise AssertionError(f"{command[0]} did not start: {log.read().decode()[-2000:]}")
                time.sleep(0.05)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code < 500
    except httpx.TransportError:
        return False


@cache
def _made() -> str | None:
    """Make the environment unless it fits the lock file already. Returns the problem, if any."""
    ready = _FOLDER / ".ready"
    wanted = hashlib.sha256(_LOCK.read_bytes()).hexdigest()
    # Several test runs may come here at once.
    with (_ROOT / ".venv-peers.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if ready.exists() and ready.read_text() == wanted:
            return None
        shutil.rmtree(_FOLDER, ignore_errors=True)
        problem = _run(sys.executable, "-m", "venv", _FOLDER) or _run(
            *(_FOLDER / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--require-hashes", "-r", _LOCK),
        )
        if problem is None:
            ready.write_text(wanted)
        return problem


def _run(*command: object) -> str | None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
