from __future__ import annotations

from pathlib import Path

import pytest

from gateway.catalog.files import MAX_FILE_BYTES, read_yaml


def _read(tmp_path: Path, text: str | bytes) -> tuple[object, list[str]]:
    path = tmp_path / "a.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    source, problems = read_yaml(path, "a.yaml")
    return (None if source is None else source.document), [str(found) for found in problems]


def test_values_keep_their_kind_and_their_lines(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        'a: 1\nb:\n  - {c: 1.5}\n  - "12.90"\nd: NO\ne: 2026-01-01\nf: [true, null]\n'
    )
    source, problems = read_yaml(tmp_path / "a.yaml", "a.yaml")
    assert problems == []
    assert source is not None
    assert source.document == {
        "a": 1,
        "b": [{"c": 1.5}, "12.90"],
        "d": "NO",  # YAML 1.2: Norway is no boolean
        "e": "2026-01-01",
        "f": [True, None],
    }
    assert source.lines["b",] == 2
    assert source.lines["b", 0, "c"] == 3
    assert source.lines["b", 1] == 4
    assert source.problem(("b", 0, "missing"), "is missing").line == 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "a.yaml:1: the file is empty"),
        ("a: 1\na: 2\n", "a.yaml:2: a: is given twice"),
        ("a: 1\n2: x\n", "a.yaml:2: a key must be text; write it in quotes"),
        ("a: &x [1]\nb: *x\n", "a.yaml:2: b: anchors and aliases are not allowed"),
        ("a: !!python/object:os.system {}\n", "a.yaml:1: a: tags are not allowed"),
        ("a: !secret x\n", "a.yaml:1: a: tags are not allowed"),
        ("a: .nan\n", "a.yaml:1: a: is not a finite number"),
        ("a: 1\nb: [1,\nc: }\n", "a.yaml:3: is not YAML"),
        (b"a: \xff\n", "a.yaml:1: is not UTF-8 text"),
        ("a: " + "[" * 100_000, "a.yaml:1: is nested too deeply"),
        ("a: " + "[" * 40 + "]" * 40, "is nested too deeply"),
        ("#" * (MAX_FILE_BYTES + 1), "are the most"),
    ],
)
def test_file_that_is_not_taken_says_why_and_where(tmp_path: Path, text: str | bytes, problem: str) -> None:
    _, problems = _read(tmp_path, text)
    assert len(problems) == 1
    assert problem in problems[0]


def test_aliases_that_would_unfold_are_refused_quickly(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)]
    document, problems = _read(tmp_path, "\n".join(lines))
    assert document is None
    assert "aliases" in problems[0]
