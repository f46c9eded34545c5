"""P4: what a provider can do decides the flow, never who it is. No code outside the adapters asks for a name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ADAPTERS = ROOT / "wallets" / "vault" / "providers"
NAMES = {"simulated", "simulated_debit", "stripe", "cash", "voucher"}
ALLOWED = {
    "gateway/orders/books.py": {"voucher"},  # which account it is, not what is done: a sold voucher is owed
}


def asked_for(tree: ast.Module) -> Iterator[str]:
    """Yield the provider names that something is compared with or matched against."""
    for node in ast.walk(tree):
        compared: list[ast.AST] = []
        if isinstance(node, ast.Compare):
            compared = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            compared = [node.value]
        for below in (inner for each in compared for inner in ast.walk(each)):
            if isinstance(below, ast.Constant) and below.value in NAMES:
                yield below.value


def sources() -> list[Path]:
    folders = [ROOT / name for name in ("gateway", "wallets", "fulfillment")]
    found = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    return [path for path in found if ADAPTERS not in path.parents]


def test_p4_nobody_asks_which_provider_it_is() -> None:
    named = {
        name
        for path in ADAPTERS.glob("*.py")
        for name in re.findall(r'\b(?:name|NAME)(?:: str)? ?= ?"([a-z_]+)"', path.read_text(encoding="utf-8"))
    }
    assert named >= NAMES, "these are what the adapters call themselves"
    found = {
        str(path.relative_to(ROOT)): names
        for path in sources()
        if (names := set(asked_for(ast.parse(path.read_text(encoding="utf-8")))))
    }
    assert found == ALLOWED


@pytest.mark.parametrize(
    "text",
    [
        'x = provider == "stripe"',
        'if "simulated" != name: ...',
        'y = name in ("cash", "other")',
        'match name:\n    case "voucher": ...',
    ],
)
def test_the_check_itself_finds_names(text: str) -> None:
    assert len(list(asked_for(ast.parse(text)))) == 1
