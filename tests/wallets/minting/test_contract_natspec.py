"""Whoever reads the contract with a tool finds every function described; whoever reads its source, also events."""

from __future__ import annotations

import re
from typing import Any

import pytest
from vyper import compile_code

from wallets.minting.contract.artifact import load_artifact
from wallets.minting.contract.build import SOURCE_PATH

SOURCE = SOURCE_PATH.read_text(encoding="utf-8")
VARIABLES = re.findall(r"^(\w+): public\(", SOURCE, re.MULTILINE)
EVENTS = re.findall(r"^event (\w+):", SOURCE, re.MULTILINE)
FUNCTIONS = [
    entry for entry in load_artifact().abi if entry["type"] == "function" and entry["name"] not in VARIABLES
]
STANDARD = {
    "balanceOf", "balanceOfBatch", "setApprovalForAll", "safeTransferFrom", "safeBatchTransferFrom",
    "uri", "supportsInterface", "royaltyInfo", "DOMAIN_SEPARATOR", "return_to_treasury", "return_many",
    "mint", "mint_many",
}  # fmt: skip


@pytest.fixture(scope="module")
def documented() -> dict[str, dict[str, Any]]:
    """What vyper makes of the comments: by signature, the notice for users and the rest for developers."""
    built = compile_code(SOURCE, output_formats=["userdoc", "devdoc"])
    methods = built["userdoc"]["methods"]
    return {
        name: {**methods.get(name, {}), **built["devdoc"]["methods"].get(name, {})}
        for name in {*methods, *built["devdoc"]["methods"]}
    }


@pytest.mark.parametrize("entry", FUNCTIONS, ids=lambda entry: entry["name"])
def test_function_says_what_it_does_takes_and_answers(documented, entry):
    signature = f"{entry['name']}({','.join(given['type'] for given in entry['inputs'])})"
    text = documented[signature]
    assert text["notice"]
    assert set(text.get("params", {})) == {given["name"] for given in entry["inputs"]}
    assert bool(text.get("returns")) == bool(entry["outputs"])
    if entry["name"] in STANDARD:
        assert re.match(r"(ERC|EIP)-\d+", text["custom:standard"])


@pytest.mark.parametrize("signature", ["define", "mint", "mint_many", "return_to_treasury", "set_paused"])
def test_function_of_a_role_names_the_role(documented, signature):
    (text,) = [text for name, text in documented.items() if name.startswith(f"{signature}(")]
    assert re.match(r"Only (the owner|minters)\.", text["details"])


@pytest.mark.parametrize(
    "name", [f"event {name}:" for name in EVENTS] + [f"{name}: public(" for name in VARIABLES]
)
def test_event_and_public_variable_have_their_meaning_before_them(name):
    lines = SOURCE.splitlines()
    (place,) = [number for number, line in enumerate(lines) if line.startswith(name)]
    assert lines[place - 1].startswith("# ")
