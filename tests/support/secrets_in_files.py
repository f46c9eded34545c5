"""No card number, name, token or key in the clear in any file of a data directory, write-ahead logs included."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from tests.support.promises import Violation

FORBIDDEN_WORDS = (b"security_code", b'"cvc"', b'"cvv"', b'"cvv2"')
"""A security code has three digits and cannot be searched for; what would name it can."""


def forms(secret: str) -> Iterator[bytes]:
    """Yield the ways in which a text might have been written."""
    yield secret.encode()
    yield secret.encode("utf-16-le")
    yield secret.encode().hex().encode()
    if secret.isdigit():
        groups = [secret[at : at + 4] for at in range(0, len(secret), 4)]
        yield " ".join(groups).encode()
        yield "-".join(groups).encode()
        yield int(secret).to_bytes(8, "big")
        yield bytes.fromhex(secret.zfill(16))


def secrets_in_files(folder: Path, secrets: Collection[str]) -> Iterator[Violation]:
    """Search every file below a folder for every form of every secret."""
    for file in sorted(folder.rglob("*")):
        if not file.is_file() or file.suffix == ".glb":
            continue
        data = file.read_bytes()
        name = str(file.relative_to(folder))
        for secret in secrets:
            for form in forms(secret):
                if form in data:
                    yield Violation("no secret in any file", name, f"holds {secret[:6]}... as {form[:8]!r}")
        for word in FORBIDDEN_WORDS:
            if word in data.lower():
                yield Violation("no security code in any file", name, f"speaks of {word.decode()}")
