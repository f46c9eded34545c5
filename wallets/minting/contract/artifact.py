"""The committed build of the goods contract, so that running a gateway needs no compiler."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ARTIFACT_PATH = Path(__file__).with_name("goods.json")


@dataclass(frozen=True, slots=True)
class Artifact:
    """A compiled contract.

    ``bytecode`` is the creation code without constructor arguments; ``runtime_bytecode`` is what
    ``eth_getCode`` answers after deployment. ``source_sha256`` is the hex digest of ``goods.vy``.
    """

    abi: list[dict[str, Any]]
    bytecode: bytes
    runtime_bytecode: bytes
    compiler: str
    evm_version: str
    source_sha256: str


def parse_artifact(text: str) -> Artifact:
    """Read the JSON that ``build.py`` writes. Raises KeyError or ValueError on anything else."""
    document = json.loads(text)
    return Artifact(
        abi=document["abi"],
        bytecode=bytes.fromhex(document["bytecode"].removeprefix("0x")),
        runtime_bytecode=bytes.fromhex(document["runtime_bytecode"].removeprefix("0x")),
        compiler=document["compiler"],
        evm_version=document["evm_version"],
        source_sha256=document["source_sha256"],
    )


@cache
def load_artifact() -> Artifact:
    """Return the committed build of ``goods.vy``."""
    return parse_artifact(ARTIFACT_PATH.read_text(encoding="utf-8"))
