"""Writes ``docs/asyncapi.json`` from the code; ``--check`` only compares, and fails when it differs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from gateway.protocol.schema import asyncapi_document

DOCUMENT = Path(__file__).parents[2] / "docs" / "asyncapi.json"


def rendered() -> str:
    """Return the document as it is committed."""
    return json.dumps(asyncapi_document(), indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Write or compare; the exit code says whether they agree."""
    if "--check" not in sys.argv:
        DOCUMENT.parent.mkdir(exist_ok=True)
        DOCUMENT.write_text(rendered(), encoding="utf-8")
        return 0
    if DOCUMENT.read_text(encoding="utf-8") == rendered():
        return 0
    sys.stderr.write(f"{DOCUMENT.name} differs from the code: run python -m gateway.protocol.generate\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
