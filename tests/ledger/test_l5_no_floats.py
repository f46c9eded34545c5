"""No float touches money (L5): where amounts are computed or written there is no float and no true division."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import BigInteger, Float, Integer, Numeric

from gateway.schema import metadata

ROOT = Path(__file__).parents[2]
MONEY = [
    "gateway/kernel/money.py",
    "gateway/kernel/currencies.py",
    "gateway/ledger",
    "gateway/orders",
    "gateway/payments",
    "gateway/commands",
    "gateway/catalog/taxes.py",
    "gateway/catalog/documents.py",
    "gateway/catalog/loading.py",
    "fulfillment",
    "wallets/vault",
]
NO_MONEY = {
    "wallets/vault/acp_canonical.py": "JSON numbers of a body of which only a digest is kept",
    "wallets/vault/audit_sealing.py": "moments of a steady clock",
    "wallets/vault/http/card_pages.py": "paths",
    "wallets/vault/http/connections.py": "moments of a steady clock",
    "wallets/vault/kms_aws.py": "moments of a steady clock",
    "wallets/vault/providers/acquirer/faults.py": "chances",
}
"""Files in those folders in which other things are floats; nothing in them is an amount."""
_SECONDS = ("_s", "_S")
"""Durations are seconds and may be floats; their names say so."""


def _sources() -> Iterator[Path]:
    for name in MONEY:
        path = ROOT / name
        found = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        yield from (file for file in found if str(file.relative_to(ROOT)) not in NO_MONEY)


def floats(tree: ast.Module) -> list[int]:
    """Return the lines where a float comes in: a literal, the name of the type, a division that makes one."""
    durations: set[int] = set()
    for node in ast.walk(tree):
        named: list[ast.AST] = []
        if isinstance(node, ast.Assign):
            named = [node.value] if all(_is_duration(target) for target in node.targets) else []
        elif isinstance(node, ast.AnnAssign) and node.value is not None and _is_duration(node.target):
            named = [node, node.annotation, node.value]
        elif (isinstance(node, ast.AnnAssign) and _is_duration(node.target)) or (
            isinstance(node, ast.arg) and node.arg.endswith(_SECONDS) and node.annotation is not None
        ):
            named = [node.annotation]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            # Waiting, not counting.
            named = list(node.args) if node.func.attr in ("sleep", "timeout", "wait_for") else []
        durations |= {id(below) for one in named for below in ast.walk(one)}
    found = []
    for node in ast.walk(tree):
        is_float = (isinstance(node, ast.Constant) and isinstance(node.value, float)) or (
            isinstance(node, ast.Name) and node.id == "float"
        )
        divides = isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div)
        if divides and isinstance(node, ast.BinOp) and (_is_path(node) or _name(node.left).endswith("_ms")):
            continue
        if (is_float or divides) and id(node) not in durations:
            found.append(node.lineno)
    return found


def _is_duration(target: ast.AST) -> bool:
    if isinstance(target, ast.Tuple):
        return all(_is_duration(element) for element in target.elts)
    return _name(target).endswith(_SECONDS)


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _is_path(node: ast.BinOp) -> bool:
    """``folder / "name"`` joins paths: one side is text."""
    return any(
        isinstance(side, ast.JoinedStr) or (isinstance(side, ast.Constant) and isinstance(side.value, str))
        for side in (node.left, node.right)
    )


@pytest.mark.parametrize("path", list(_sources()), ids=lambda path: str(path.relative_to(ROOT)))
def test_l5_no_float_where_money_is(path: Path) -> None:
    assert floats(ast.parse(path.read_text())) == []


@pytest.mark.parametrize("name", NO_MONEY)
def test_l5_a_file_with_floats_has_no_money(name: str) -> None:
    assert not re.search(r"_minor|\bMoney\b|\bamount\b", (ROOT / name).read_text())


@pytest.mark.parametrize(
    "text", ["x = 1.5", "x = float(y)", "x = y / 2", "x /= 2", "def f(a: float): ...", "x: float = 0"]
)
def test_the_check_itself_finds_floats(text: str) -> None:
    assert floats(ast.parse(text)) == [1]


@pytest.mark.parametrize(
    "text",
    [
        "wait_s = 1.5",
        "a_s, b_s = 1.5, 2.5",
        "x = y // 2",
        'p = folder / "x"',
        "x_s: float = 0.5",
        "t = now_ms / 1000",
    ],
)
def test_the_check_itself_lets_durations_and_paths_be(text: str) -> None:
    assert floats(ast.parse(text)) == []


def test_l5_no_column_of_an_amount_is_anything_but_a_whole_number() -> None:
    columns = [column for table in metadata.tables.values() for column in table.columns]
    assert not [column for column in columns if isinstance(column.type, Float)]
    amounts = [column for column in columns if column.name.endswith("_minor") or column.name == "amount"]
    assert amounts
    for column in amounts:
        assert isinstance(column.type, BigInteger | Integer) and not isinstance(column.type, Numeric), column
