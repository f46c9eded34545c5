"""Compile ``goods.vy`` into the committed ``goods.json``.

Run ``python -m wallets.minting.contract.build``. With ``--check`` nothing is written; the exit code is 1 if
the committed file is not what the source compiles to. Needs the vyper of the ``dev`` extra. Version and
target are pinned in the source, so the same source gives the same bytes on every machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

from wallets.minting.contract.artifact import ARTIFACT_PATH

SOURCE_PATH = Path(__file__).with_name("goods.vy")
EVM_VERSION = "cancun"


def build() -> str:
    """Compile the contract and return the text of ``goods.json``."""
    import vyper
    from vyper.cli.vyper_compile import compile_files

    wanted = ["abi", "bytecode", "bytecode_runtime"]
    outputs = compile_files([SOURCE_PATH], wanted, paths=[SOURCE_PATH.parent])
    (compiled,) = outputs.values()
    document = {
        "abi": compiled["abi"],
        "bytecode": compiled["bytecode"],
        "runtime_bytecode": compiled["bytecode_runtime"],
        "compiler": f"vyper {vyper.__version__}",
        "evm_version": EVM_VERSION,
        "source_sha256": hashlib.sha256(SOURCE_PATH.read_bytes()).hexdigest(),
    }
    return json.dumps(document, indent=1) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Write or check the artifact; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    options = parser.parse_args(arguments)
    text = build()
    if not options.check:
        ARTIFACT_PATH.write_text(text, encoding="utf-8")
        return 0
    if ARTIFACT_PATH.exists() and ARTIFACT_PATH.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write(f"{ARTIFACT_PATH.name} is not what {SOURCE_PATH.name} compiles to\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
