"""The documents made from the models, and the closed list of codes."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema
import pytest

from gateway.protocol import generate
from gateway.protocol.close_codes import CloseCode
from gateway.protocol.errors import ERROR_CODES
from gateway.protocol.events import EVENTS
from gateway.protocol.messages import COMMANDS
from gateway.protocol.schema import asyncapi_document, message_schemas, type_of

ROOT = Path(__file__).parents[2]


def test_the_committed_asyncapi_document_is_the_codes() -> None:
    assert generate.DOCUMENT.read_text(encoding="utf-8") == generate.rendered()


@pytest.mark.parametrize("name", sorted(message_schemas()))
def test_every_schema_is_a_valid_json_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(message_schemas()[name])


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = asyncapi_document()

    def walk(node: object, found: set[str]) -> None:
        if isinstance(node, dict):
            reference = node.get("$ref")
            # References inside a message's schema belong to that schema.
            if isinstance(reference, str) and not reference.startswith("#/$defs/"):
                found.add(reference)
            for value in node.values():
                walk(value, found)
        elif isinstance(node, list):
            for value in node:
                walk(value, found)

    references: set[str] = set()
    walk(document, references)
    for reference in references:
        node: object = document
        for part in reference.removeprefix("#/").split("/"):
            assert isinstance(node, dict) and part in node, reference
            node = node[part]


def test_every_command_has_an_operation_with_a_reply() -> None:
    operations = asyncapi_document()["operations"]
    for command in COMMANDS:
        assert "reply" in operations[type_of(command).replace(".", "_")]


def test_close_codes_say_what_the_client_does() -> None:
    for code in CloseCode:
        if 4000 <= code <= 4499:
            assert "reconnect" in code.client_action
        if 4500 <= code <= 4999:
            assert code.client_action.startswith("stop")


def test_events_are_past_facts_with_a_namespace() -> None:
    for name in EVENTS:
        assert re.fullmatch(r"[a-z_]+\.[a-z_]+", name)


INTERNAL = re.compile(
    # Raised between our own parts and turned into states or answers before any client: chain and signer
    # words, inventory rules that a correct process never breaks, and answers of the vault's protocol.
    r"^(chain|minting|signer|ledger|challenge)\.|^custody\.(key_missing|seed_unreadable)|^vault\.cursor_malformed|"
    r"^backend\.|^fulfillment\.(empty|order_unknown|reference_reused|refused)|^money\.allocation|"
    r"^stock\.(negative|not_counted|not_reserved|quantity|pool_unknown)|^hold\.quantity|"
    r"^edition\.(cap|not_issued|numbers_missing|serial_not_issued)$|^mint\.(unknown|not_final|return_needs_holder)|"
    r"^mint\.(contract_fixed|contract_unknown|not_parked)$|"
    r"^payment\.unknown$|^capture\.unknown$|"
    # Of the vault's process: its pages, its credentials, its own API and keys.
    r"^card_session\.(busy|expired|unknown|used)$|^credential\.|^request\.|^page\.not_found$|"
    r"^vault\.(audit_kept|key_in_use|key_known|rotation_open)$|"
    # Of commands that read and write files of the books.
    r"^export\.|^settlement\."
)


def test_every_code_our_program_raises_is_listed_or_known_to_stay_inside() -> None:
    raised: dict[str, Path] = {}
    pattern = re.compile(r'Error\(\s*"([a-z_]+\.[a-z_]+)"')
    for package in ("gateway", "fulfillment", "wallets"):
        for path in (ROOT / package).rglob("*.py"):
            for code in pattern.findall(path.read_text(encoding="utf-8")):
                raised[code] = path
    unlisted = {
        code: str(path)
        for code, path in raised.items()
        if code not in ERROR_CODES and not INTERNAL.match(code)
    }
    assert not unlisted
    assert len(raised) > 40
