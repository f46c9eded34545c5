"""What a wallet calls the states of digital items."""

from __future__ import annotations

import pytest

from gateway.orders.model import LegState
from gateway.orders.wallet_items import OWNERSHIP
from gateway.protocol.documents import TokenDocument

NEVER_LISTED = {LegState.ACCEPTED, LegState.CANCELING, LegState.CANCELED, LegState.FAILED}


@pytest.mark.parametrize("state", LegState)
def test_every_state_of_a_leg_is_named_or_never_listed(state: LegState) -> None:
    assert (state in OWNERSHIP) != (state in NEVER_LISTED)


def test_every_name_is_one_that_clients_know() -> None:
    schema = TokenDocument.model_json_schema()
    assert set(OWNERSHIP.values()) == set(schema["properties"]["state"]["enum"])
