"""Events of a receipt are taken apart when somebody looks at them."""

from __future__ import annotations

from typing import Any

import pytest

from wallets.minting.chain.jsonrpc import _logs
from wallets.minting.chain.port import ChainUnavailable, Log

ADDRESS = "0x52908400098527886E0F7030069857D2E4169EE7"
EVENT = {"address": ADDRESS.lower(), "topics": ["0x" + "0a" * 32], "data": "0x07"}


def test_events_are_read_as_the_port_has_them() -> None:
    one = Log(ADDRESS, (b"\x0a" * 32,), b"\x07")
    logs = _logs([EVENT, EVENT])
    assert logs == (one, one)
    assert list(logs) == [one, one]
    assert (logs[0], len(logs)) == (one, 2)
    assert _logs([]) == ()


@pytest.mark.parametrize("wrong", [None, "0x", {}, [7]])
def test_what_is_no_list_of_events_is_refused_at_once(wrong: Any) -> None:
    with pytest.raises(TypeError):
        _logs(wrong)


@pytest.mark.parametrize("change", [{"topics": None}, {"topics": [7]}, {"data": "0x0"}, {"address": "0x0"}])
def test_an_event_that_is_none_is_no_usable_answer(change: dict[str, Any]) -> None:
    logs = _logs([EVENT | change])
    with pytest.raises(ChainUnavailable):
        list(logs)
