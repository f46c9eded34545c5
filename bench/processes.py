"""Starting, asking, measuring and ending the processes of a run. Each is ended by its own id, always."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil

_LINE_BYTES = 64 * 1024 * 1024
_STOP_WITHIN_S = 20.0
ROOT = Path(__file__).resolve().parent.parent


class BenchError(RuntimeError):
    """The run cannot go on: a process ended, did not answer, or its work does not add up."""


@dataclass(slots=True)
class Process:
    """A Python module running as a process that speaks lines of JSON."""

    module: str
    child: asyncio.subprocess.Process
    log: Path

    @classmethod
    async def start(cls, module: str, log: Path, *arguments: str) -> Self:
        """Start ``python -m module``; what it writes to its error output goes to ``log``."""
        with log.open("ab") as errors:
            child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                module,
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                limit=_LINE_BYTES,
            )
        return cls(module, child, log)

    async def line(self, within_s: float) -> Any:
        """Return the next line of JSON; raises BenchError when the process ends or stays silent."""
        assert self.child.stdout is not None
        try:
            raw = await asyncio.wait_for(self.child.stdout.readline(), within_s)
        except TimeoutError:
            raise BenchError(f"{self.module} did not answer within {within_s:.0f} s{self._said()}") from None
        if not raw:
            raise BenchError(f"{self.module} ended{self._said()}")
        return json.loads(raw)

    async def ask(self, work: str, within_s: float = 90.0, **arguments: Any) -> Any:
        """Send one request and return its answer; raises BenchError for an answer that reports an error."""
        assert self.child.stdin is not None
        self.child.stdin.write(json.dumps({"work": work, **arguments}).encode() + b"\n")
        await self.child.stdin.drain()
        answer = await self.line(within_s)
        if "error" in answer:
            raise BenchError(f"{self.module} {work}: {answer['error']}")
        return answer["value"]

    def cpu_s(self) -> float:
        """Return the CPU time of the process and its children so far, user and system, in seconds."""
        process = psutil.Process(self.child.pid)
        spent = process.cpu_times()
        total: float = spent.user + spent.system + spent.children_user + spent.children_system
        for child in process.children(recursive=True):
            its = child.cpu_times()
            total += its.user + its.system
        return total

    def private_bytes(self) -> int:
        """Return the memory that belongs to this process alone."""
        private: int = psutil.Process(self.child.pid).memory_full_info().uss
        return private

    async def stop(self) -> None:
        """Ask it to end, and end it if it does not."""
        if self.child.returncode is not None:
            return
        self.child.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.child.wait(), _STOP_WITHIN_S)
        except TimeoutError:
            self.child.kill()
            await self.child.wait()

    def _said(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return ":\n" + "\n".join(lines[-20:]) if lines else ""
