"""Compile ``validator.vy`` into the committed ``validator.json``.

Run ``python -m wallets.custody.validator.build``. Needs the vyper of the ``dev`` extra. Version and target
are pinned in the source, so the same source gives the same bytes on every machine; a test compares them.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

SOURCE_PATH = Path(__file__).with_name("validator.vy")
ARTIFACT_PATH = Path(__file__).with_name("validator.json")
EVM_VERSION = "cancun"


def build() -> str:
    """Compile the contract and return the text of ``validator.json``."""
    import vyper
    from vyper.cli.vyper_compile import compile_files

    (compiled,) = compile_files([SOURCE_PATH], ["bytecode"], paths=[SOURCE_PATH.parent]).values()
    document = {
        "bytecode": compiled["bytecode"],
        "compiler": f"vyper {vyper.__version__}",
        "evm_version": EVM_VERSION,
        "source_sha256": hashlib.sha256(SOURCE_PATH.read_bytes()).hexdigest(),
    }
    return json.dumps(document, indent=1) + "\n"


if __name__ == "__main__":
    ARTIFACT_PATH.write_text(build(), encoding="utf-8")
