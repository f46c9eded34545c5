"""A file that holds what cannot be stored is refused whole, before the first line of it is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.kernel.errors import InvalidError
from gateway.payments.settlement.files import SettlementFile, read_file

HEADS = (
    "line_key,operation_id,provider_reference,type,gross_minor,fee_minor,net_minor,currency,batch,payout_id,"
    "occurred_at_ms,available_on\n"
)
BANK_HEADS = "line_key,booked_on,amount_minor,currency,reference,counterparty\n"
LARGEST = 2**53 - 1
TRANSACTION = {
    **{"id": "txn_1", "type": "charge", "amount": 100, "fee": 3, "net": 97, "currency": "eur"},
    **{"created": 1_795_305_600, "available_on": 1_795_478_400, "source": "ch_1"},
}


def fee(amount: str, at_ms: str = "1795305600000", key: str = "L2") -> bytes:
    good = "L1,,r1,fee,0,1,-1,EUR,,,1795305600000,\n"
    return f"{HEADS}{good}{key},,r2,fee,0,{amount},-{amount},EUR,,,{at_ms},\n".encode()


def test_the_largest_amount_is_read() -> None:
    found = read_file("a.csv", fee(str(LARGEST)))
    assert isinstance(found, SettlementFile) and found.lines[1].fee_minor == LARGEST


@pytest.mark.parametrize("amount", [str(LARGEST + 1), str(10**25), "1_000", " 1", "١", "1.0", ""])
def test_an_amount_that_is_none_or_too_large_is_refused(amount: str) -> None:
    with pytest.raises(InvalidError) as refused:
        read_file("a.csv", fee(amount))
    assert refused.value.code == "settlement.file" and "line 3" in refused.value.message


@pytest.mark.parametrize("content", [fee("1", str(10**20)), fee("1", key="L\0")])
def test_a_time_or_a_text_that_cannot_be_stored_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidError) as refused:
        read_file("a.csv", content)
    assert refused.value.code == "settlement.file"


@pytest.mark.parametrize("amount", [str(LARGEST + 1), f"-{10**25}", "1e3"])
def test_an_amount_of_the_bank_that_is_too_large_is_refused(amount: str) -> None:
    with pytest.raises(InvalidError):
        read_file("b.csv", f"{BANK_HEADS}B1,2026-11-22,{amount},EUR,po_1,Acquirer\n".encode())


@pytest.mark.parametrize(
    "change",
    [
        {"amount": 10**25, "net": 10**25},
        {"created": 10**25},
        {"available_on": 10**25},
        {"id": "txn\0"},
        {"currency": 7},
    ],
)
def test_a_balance_transaction_that_cannot_be_stored_is_refused(change: dict[str, Any]) -> None:
    assert isinstance(read_file("s.json", json.dumps([TRANSACTION]).encode()), SettlementFile)
    with pytest.raises(InvalidError) as refused:
        read_file("s.json", json.dumps([TRANSACTION, {**TRANSACTION, **change}]).encode())
    assert refused.value.code == "settlement.file"
