"""The end of the audit chain, kept where the database is not.

A chain proves its order, not its length: who removes the last rows and seals leaves a shorter chain that
verifies. The anchor remembers how far it went. Put the file on another system, or ship the log line
``vault.audit_anchored``, which says the same (PCI DSS 4.0.1, 10.3.3).
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Protocol

import structlog

from wallets.vault.audit_chain import Head

_log = structlog.get_logger("vitrine.vault")


class Anchor(Protocol):
    """Remembers the end of the chain."""

    async def keep(self, head: Head) -> None: ...

    async def last(self) -> Head | None:
        """Return the end as it was kept last; None before the first time. Raises AnchorUnreadableError."""
        ...


class AnchorUnreadableError(Exception):
    """The file is there and is not an anchor."""


class FileAnchor:
    """A file with the last head, replaced as a whole.

    ``announces``: each head is logged as well, for a log that is shipped to another system.
    """

    def __init__(self, path: Path, *, announces: bool = False) -> None:
        self._path = path
        self._announces = announces

    async def keep(self, head: Head) -> None:
        if self._announces:
            _log.info("vault.audit_anchored", seal_no=head.seal_no, last_id=head.last_id, mac=head.mac.hex())
        await asyncio.to_thread(self._write, head)

    async def last(self) -> Head | None:
        return await asyncio.to_thread(self._read)

    def _write(self, head: Head) -> None:
        text = json.dumps(
            {
                "seal_no": head.seal_no,
                "last_id": head.last_id,
                "head": head.head.hex(),
                "mac": head.mac.hex(),
            }
        )
        draft = self._path.with_suffix(f".{os.getpid()}.draft")
        draft.write_text(text + "\n")
        draft.replace(self._path)

    def _read(self) -> Head | None:
        try:
            found = json.loads(self._path.read_text())
        except FileNotFoundError:
            return None
        try:
            return Head(
                int(found["seal_no"]),
                int(found["last_id"]),
                bytes.fromhex(found["head"]),
                bytes.fromhex(found["mac"]),
            )
        except (KeyError, TypeError, ValueError):
            raise AnchorUnreadableError(f"{self._path.name} is not an anchor of an audit trail") from None
