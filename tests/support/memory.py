"""Searching what a running process has in its memory (Linux, ``/proc/<pid>/mem``)."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from tests.support.secrets_in_files import forms

_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (r...) \S+ \S+ \S+\s*(.*)")
_CHUNK = 16 * 1024 * 1024
_OVERLAP = 256


def _is_telling(form: bytes) -> bool:
    """Packed digits of some numbers are bytes that are everywhere: ``BBBBBBBB`` is 4242 4242 4242 4242."""
    return (form.isascii() and form.isdigit()) or len(form) > 8 or len(set(form)) >= 5


def found_in_memory(pid: int, secrets: Collection[str]) -> list[str]:
    """Return where any form of a secret is in the readable memory of a process, with what is around it."""
    searched = {form for secret in secrets for form in forms(secret) if _is_telling(form)}
    found: list[str] = []
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            mapping = _MAPPING.match(line)
            if mapping is None or mapping[4] in ("[vvar]", "[vsyscall]"):
                continue
            start, end = int(mapping[1], 16), int(mapping[2], 16)
            for at in range(start, end, _CHUNK):
                memory.seek(at)
                try:
                    data = memory.read(min(_CHUNK + _OVERLAP, end - at))
                except OSError:
                    break  # given back while we looked, or a device
                # One by one: many times as fast as one expression with all of them.
                for form in searched:
                    hit = data.find(form)
                    if hit >= 0:
                        around = data[max(0, hit - 30) : hit + len(form) + 30]
                        found.append(f"{mapping[4] or 'heap'} at {at + hit:x}: {around!r}")
    return found
