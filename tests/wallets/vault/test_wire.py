"""The values of the port as JSON: what goes out comes back, and nothing else is taken."""

from __future__ import annotations

import dataclasses
import inspect
import json
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.kernel.errors import VitrineError
from gateway.kernel.ids import Id
from gateway.kernel.money import Money
from wallets.vault import port
from wallets.vault.http.calls import CALLS, NOT_SERVED
from wallets.vault.http.wire import WireError, codec_of, dumps, loads
from wallets.vault.port import CardEntry, Vault
from wallets.vault.remote import RemoteVault
from wallets.vault.secret import Secret
from wallets.vault.whole import WholeVault

VALUES = sorted(
    (
        value
        for value in vars(port).values()
        if dataclasses.is_dataclass(value) and value is not CardEntry and isinstance(value, type)
    ),
    key=lambda kind: kind.__name__,
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def values_of(declared: Any) -> st.SearchStrategy[Any]:
    """Any value of a declared type of the port."""
    origin, arguments = get_origin(declared), get_args(declared)
    if origin in (Union, UnionType):
        return st.one_of([values_of(part) for part in arguments])
    if origin is tuple:
        return st.lists(values_of(arguments[0]), max_size=3).map(tuple)
    if origin is list:
        return st.lists(values_of(arguments[0]), max_size=3)
    if origin is frozenset:
        return st.frozensets(values_of(arguments[0]), max_size=3)
    if declared is NoneType:
        return st.none()
    if declared is str:
        return TEXT
    if declared is bool:
        return st.booleans()
    if declared is int:
        return st.integers(-(2**63) + 1, 2**63 - 1)
    if declared is Secret:
        return TEXT.map(Secret)
    if declared is Money:
        return st.builds(Money, st.integers(-(2**53), 2**53), st.sampled_from(["EUR", "JPY", "KWD"]))
    if issubclass(declared, Id):
        return st.integers(0, 16**28 - 1).map(lambda number: declared(f"{declared.prefix}_{number:028x}"))
    if issubclass(declared, Enum):
        return st.sampled_from(list(declared))
    hints = get_type_hints(declared)
    fields = {field.name: values_of(hints[field.name]) for field in dataclasses.fields(declared)}
    return st.builds(declared, **fields)


@pytest.mark.parametrize("kind", VALUES, ids=lambda kind: kind.__name__)
def test_every_value_of_the_port_survives_the_wire(kind: type) -> None:
    @settings(max_examples=25, deadline=None)
    @given(values_of(kind))
    def check(value: Any) -> None:
        codec = codec_of(kind)
        assert codec.decode(loads(dumps(codec.encode(value))), "$") == value

    check()


@pytest.mark.parametrize("name", sorted(CALLS))
def test_arguments_and_results_of_every_call_survive_the_wire(name: str) -> None:
    call = CALLS[name]
    hints = get_type_hints(getattr(Vault, name))
    returned = hints.pop("return")

    @settings(max_examples=15, deadline=None)
    @given(st.fixed_dictionaries({one: values_of(hint) for one, hint in hints.items()}), values_of(returned))
    def check(arguments: dict[str, Any], result: Any) -> None:
        document = loads(dumps(call.encode_arguments(arguments)))
        assert call.decode_arguments(document) == arguments
        assert call.result.decode(loads(dumps(call.result.encode(result))), "$") == result

    check()


def test_every_method_of_the_port_is_a_call_and_has_a_client() -> None:
    methods = {name for name, _ in inspect.getmembers(Vault, inspect.isfunction) if not name.startswith("_")}
    assert methods == CALLS.keys() | NOT_SERVED
    for name in methods:
        declared = inspect.signature(getattr(Vault, name))
        for kind in (RemoteVault, WholeVault):
            assert inspect.signature(getattr(kind, name)).parameters == declared.parameters, (kind, name)


def test_v19_no_call_has_a_card_in_what_it_takes_or_gives() -> None:
    with pytest.raises(TypeError):
        codec_of(CardEntry)
    assert {"tokenize"} == NOT_SERVED
    assert not {name for name in CALLS if "detoken" in name or "reveal" in name}


@pytest.mark.parametrize(
    ("document", "param"),
    [
        ([], "$"),
        ({}, "$.request"),
        ({"card": {}, "request": {}}, "$"),
        ({"request": None}, "$.request"),
        ({"request": {"amount": {"amount_minor": 1.5, "currency": "EUR"}}}, "$.request.amount.amount_minor"),
        ({"request": {"amount": {"amount_minor": True, "currency": "EUR"}}}, "$.request.amount.amount_minor"),
        (
            {"request": {"amount": {"amount_minor": 2**70, "currency": "EUR"}}},
            "$.request.amount.amount_minor",
        ),
        ({"request": {"amount": {"amount_minor": 1, "currency": "XXQ"}}}, "$.request.amount"),
        ({"request": {"operation_id": "op_1"}}, "$.request.operation_id"),
        ({"request": {"4242424242424242": 1}}, "$.request"),
    ],
)
def test_what_is_not_a_request_is_refused_with_its_place_and_not_repeated(document: Any, param: str) -> None:
    with pytest.raises(WireError) as caught:
        CALLS["capture"].decode_arguments(document)
    assert caught.value.param == param
    assert "4242" not in f"{caught.value} {caught.value.param}"


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'{"a": NaN}', b"[" * 5000])
def test_what_is_not_json_is_refused(data: bytes) -> None:
    with pytest.raises(VitrineError):
        CALLS["capture"].decode_arguments(loads(data))


def test_values_that_are_left_out_have_their_default() -> None:
    codec = codec_of(port.Void)
    document = {"operation_id": "op_" + "0" * 28, "authorization_id": "op_" + "1" * 28}
    assert codec.decode(document, "$").amount is None
    assert json.loads(dumps(codec.encode(codec.decode(document, "$")))) == document
