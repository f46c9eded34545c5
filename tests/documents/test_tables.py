"""The documents say what the code does: tables, settings, make targets and links."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields

import pytest
from typer.main import get_command

from gateway.cli import app
from gateway.settings import Settings
from tests.documents.tables import ROOT, TABLES, between

DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        ROOT / "unity_bridge" / "README.md",
    ]
)
_NOT_FROM_THE_ENVIRONMENT = {"limits", "holds"}


@pytest.mark.parametrize("name", TABLES)
def test_table_matches_the_code(name: str) -> None:
    document, make = TABLES[name]
    found = between(name).search((ROOT / document).read_text())
    assert found is not None, f"{document} has no place for {name}"
    assert found[2] == make(), "bring it up to date with: python -m tests.documents.tables"


def test_readme_lists_every_setting_with_its_default() -> None:
    rows = re.findall(r"^\| `VITRINE_(\w+)` \| (.*?) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    described = {name.lower(): default.strip("`") for name, default in rows}
    expected = {}
    for setting in fields(Settings):
        if setting.name in _NOT_FROM_THE_ENVIRONMENT:
            continue
        assert setting.default is not MISSING
        value = setting.default
        shown = ("on" if value else "off") if isinstance(value, bool) else str("" if value is None else value)
        expected[setting.name] = shown or "empty"
    assert described == expected


def test_readme_names_every_make_target() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)) - {"help"}
    readme = (ROOT / "README.md").read_text()
    assert {target for target in targets if f"make {target}" not in readme} == set()


def test_every_command_line_in_the_documents_exists() -> None:
    program = get_command(app)
    lines = {line for document in DOCUMENTS for line in re.findall(r"bin/vitrine (.+)", document.read_text())}
    assert lines
    for line in lines:
        command, words = program, line.split()
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        assert words[:1] == ["--help"] or not hasattr(command, "commands"), f"there is no vitrine {line}"
        options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        said = {word for word in line.partition("#")[0].split() if word.startswith("--")}
        assert said <= options, f"vitrine {line}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_that_exist(document) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_headings_that_exist(document) -> None:
    for file, heading in re.findall(r"\]\(([^)#\s:]*)#([^)\s]+)\)", document.read_text()):
        target = document.parent / file if file else document
        assert heading in _headings(target.read_text()), f"{document.name} links to {file}#{heading}"


def _headings(text: str) -> set[str]:
    """Return the headings of a document as GitHub writes them in addresses."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_named_source_files_exist(document) -> None:
    """Paths in backticks that begin with a folder of the repository."""
    folders = r"(?:gateway|wallets|fulfillment|samples|tests|bench|unity_bridge|docs)"
    for named in re.findall(rf"`({folders}/[\w./-]+)`", document.read_text()):
        assert (ROOT / named).exists(), f"{document.name} names {named}"
