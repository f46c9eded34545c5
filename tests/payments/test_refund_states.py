"""Refund requests and pay links: the walk over their states, and parts that sum exactly."""

from __future__ import annotations

import random
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import pytest

from gateway.payments.pay_links import (
    PAY_LINK_MOVES,
    PayLinkState,
    is_payer,
    new_token,
    payer_of,
    token_digest,
)
from gateway.payments.refunds_model import (
    REFUND_MOVES,
    RefundState,
    RefundWay,
    gives_back,
    needs_second_person,
    refund_is_open,
    tax_share,
)


def reachable(moves: Mapping[Any, frozenset[Any]], start: StrEnum) -> set[StrEnum]:
    """Walk over every move from a state."""
    found, todo = {start}, [start]
    while todo:
        for state in moves[todo.pop()] - found:
            found.add(state)
            todo.append(state)
    return found


def test_every_refund_state_is_reached_and_only_ends_are_final() -> None:
    moves = {state: REFUND_MOVES[state] for state in RefundState}
    assert reachable(moves, RefundState.PENDING) == set(RefundState)
    for state in RefundState:
        assert refund_is_open(state) == bool(moves[state])


def test_p17_only_the_original_method_needs_no_second_person() -> None:
    assert [way for way in RefundWay if not needs_second_person(way)] == [RefundWay.ORIGINAL]
    assert [way for way in RefundWay if not gives_back(way)] == [RefundWay.PAYOUT]


def test_c13_a_link_is_paid_once_and_a_paid_link_stays_paid() -> None:
    moves = {state: PAY_LINK_MOVES[state] for state in PayLinkState}
    assert reachable(moves, PayLinkState.OPEN) == set(PayLinkState)
    assert not moves[PayLinkState.PAID]
    # What was under way when a link ended may still be paid; it never opens again.
    assert all(PayLinkState.OPEN not in targets for targets in moves.values())


def test_c13_tokens_are_256_random_bits_and_only_a_digest_is_kept() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100 and all(len(token) == 43 for token in tokens)
    token = tokens.pop()
    assert token not in token_digest(token) and len(token_digest(token)) == 64


def test_a_payer_is_no_customer() -> None:
    assert is_payer(payer_of("plk_1", "a")) and not is_payer("cus_1")
    payers = {payer_of(link, browser) for link in ("plk_1", "plk_2") for browser in ("a", "b")}
    assert len(payers) == 4


@pytest.mark.parametrize("seed", range(20))
def test_the_tax_of_all_parts_is_the_tax_of_the_whole(seed: int) -> None:
    chance = random.Random(seed)
    gross = chance.randint(1, 100_000)
    tax = chance.randint(0, gross)
    before = shared = 0
    while before < gross:
        part = chance.randint(1, min(gross - before, max(1, gross // 7)))
        share = tax_share(tax, gross, before, part)
        assert 0 <= share <= part
        shared, before = shared + share, before + part
    assert shared == tax
