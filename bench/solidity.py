"""Compile small Solidity contracts with the packages that npm installed beside this repository.

For comparisons with other people's contracts only: nothing that runs in production needs a Solidity compiler.
`@openzeppelin/contracts` and `solc` are looked for in ``node_modules`` of the repository; `missing` says what
is not there and how to install it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SOURCES = Path(__file__).with_name("contracts")
PACKAGES = {"solc": "0.8.37", "@openzeppelin/contracts": "5.7.0"}
"""The npm packages and the versions that the figures and tests were written for."""

INSTALL = "npm install --no-save --ignore-scripts @foundry-rs/anvil@1.7.1 " + " ".join(
    f"{name}@{version}" for name, version in PACKAGES.items()
)
"""The command, run in the root of the repository, that makes `compile_solidity` work. It names the test node
too, because npm removes what an earlier call did not save."""

SETTINGS: dict[str, Any] = {
    "evmVersion": "cancun",
    "viaIR": False,
    "optimizer": {"enabled": True, "runs": 200},
    "outputSelection": {"*": {"*": ["evm.bytecode.object"]}},
}

# Reads standard JSON from stdin and writes standard JSON to stdout, with imports from node_modules only.
_DRIVER = """
const fs = require("fs"), path = require("path"), solc = require("solc");
const root = path.resolve("node_modules");
function read(name) {
  const file = path.resolve(root, name);
  if (!file.startsWith(root + path.sep) || !fs.existsSync(file)) return { error: "not found: " + name };
  return { contents: fs.readFileSync(file, "utf8") };
}
process.stdout.write(solc.compile(fs.readFileSync(0, "utf8"), { import: read }));
"""


class SolidityError(Exception):
    """The compiler refused the sources, or did not run; the text is its own."""


def missing() -> str | None:
    """Say what is not installed and how to install it, or None when `compile_solidity` can work."""
    if shutil.which("node") is None:
        return "no node: install Node.js (with npm), then run '" + INSTALL + "'"
    for name, version in PACKAGES.items():
        manifest = ROOT / "node_modules" / name / "package.json"
        found = json.loads(manifest.read_text(encoding="utf-8"))["version"] if manifest.exists() else None
        if found != version:
            return f"{name} {version} is not in node_modules (found: {found}); run '{INSTALL}'"
    return None


def compile_solidity(sources: Mapping[str, str]) -> dict[str, bytes] | None:
    """Compile ``sources`` and return the creation code of every contract in them, by contract name.

    ``sources`` maps file names (such as ``"Open.sol"``) to source texts; they may import
    ``@openzeppelin/contracts/...``. The creation code takes no constructor arguments with it: append them
    yourself, ABI-encoded. Settings: cancun, optimizer at 200 runs, the legacy pipeline (no viaIR). Results
    are kept by content in the folder for temporary files, so only the first call takes seconds. Returns None
    where node or a package is absent (`missing` says which). Raises SolidityError if the compiler refuses.
    """
    if missing() is not None:
        return None
    request = json.dumps(
        {
            "language": "Solidity",
            "sources": {name: {"content": text} for name, text in sources.items()},
            "settings": SETTINGS,
        },
        sort_keys=True,
    )
    digest = hashlib.sha256(json.dumps([request, PACKAGES]).encode()).hexdigest()
    kept = _cache_folder() / f"{digest}.json"
    if not kept.exists():
        found = _run(request, frozenset(sources))
        fresh = kept.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps(found), encoding="utf-8")
        fresh.replace(kept)
    return {name: bytes.fromhex(code) for name, code in json.loads(kept.read_text(encoding="utf-8")).items()}


def open_contract(name: str) -> bytes | None:
    """Return the creation code of our own ``bench/contracts/<name>.sol``, or None as `compile_solidity` does.

    ``OpenItems``: ERC-1155 and ERC-2981 with ``mint(address,uint256,uint256)`` and
    ``mintBatch(address,uint256[],uint256[])`` for anybody; constructor ``(string uri, address, uint96 bps)``.
    ``OpenPieces``: ERC-721 with ``mint(address,uint256)`` for anybody (``_safeMint``); no constructor
    arguments.
    """
    source = SOURCES / f"{name}.sol"
    compiled = compile_solidity({source.name: source.read_text(encoding="utf-8")})
    return None if compiled is None else compiled[name]


def _cache_folder() -> Path:
    # One folder per user: nobody else can put other bytecode there.
    folder = Path(tempfile.gettempdir()) / f"vitrine-solidity-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise SolidityError(f"{folder} belongs to another user")
    return folder


def _run(request: str, ours: frozenset[str]) -> dict[str, str]:
    done = subprocess.run(
        ["node", "-e", _DRIVER], input=request, capture_output=True, text=True, cwd=ROOT, check=False
    )
    if done.returncode != 0:
        raise SolidityError(done.stderr[-2_000:])
    answer = json.loads(done.stdout)
    errors = [each["formattedMessage"] for each in answer.get("errors", []) if each["severity"] == "error"]
    if errors:
        raise SolidityError("\n".join(errors))
    return {
        contract: built["evm"]["bytecode"]["object"]
        for source in ours
        for contract, built in answer["contracts"].get(source, {}).items()
    }
