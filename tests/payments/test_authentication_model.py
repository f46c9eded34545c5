"""Authentications: every state walked, outcomes of challenges, dynamic linking, short codes (P13, P14)."""

from __future__ import annotations

import dataclasses

import pytest

from gateway.kernel.money import Money
from gateway.payments.authentication_model import (
    AUTHENTICATION_MOVES,
    USER_CODE_ALPHABET,
    AuthenticationState,
    Liability,
    is_decided,
    liability_of,
    may_authorize,
    new_action_id,
    new_user_code,
    read_user_code,
    shown_user_code,
    state_after_challenge,
    state_at,
    user_code_digest,
)
from wallets.vault.dynamic_link import AuthenticationReference, link_of
from wallets.vault.port import OperationStatus

S = AuthenticationState


def test_every_state_has_its_moves_and_its_meaning() -> None:
    assert set(AUTHENTICATION_MOVES) == set(S)
    for state in S:
        moves = AUTHENTICATION_MOVES[state]
        assert state not in moves
        assert S.PENDING not in moves, "a decided action is never asked again"
        assert is_decided(state) is (state is not S.PENDING)
        # Only what may authorize can lose that again.
        assert moves <= ({S.EXPIRED} if is_decided(state) else set(S))
        assert bool(moves) is (state is S.PENDING or may_authorize(state))
        assert liability_of(state) is (Liability.ISSUER if may_authorize(state) else Liability.MERCHANT)


def test_p13_only_authenticated_and_attempted_authorize_and_rejected_never_does() -> None:
    assert {state for state in S if may_authorize(state)} == {S.AUTHENTICATED, S.ATTEMPTED}
    assert not may_authorize(S.REJECTED)


@pytest.mark.parametrize(
    ("status", "code", "reason", "state"),
    [
        (OperationStatus.SUCCEEDED, None, None, S.AUTHENTICATED),
        (OperationStatus.DECLINED, "3DS:N", None, S.NOT_AUTHENTICATED),
        (OperationStatus.DECLINED, "3DS:R", None, S.REJECTED),
        (OperationStatus.DECLINED, "3DS:U", None, S.UNAVAILABLE),
        (OperationStatus.DECLINED, "3DS:A", None, S.ATTEMPTED),
        (OperationStatus.DECLINED, "3DS:?", None, S.UNAVAILABLE),
        (OperationStatus.DECLINED, "51", None, S.AUTHENTICATED),
        (OperationStatus.FAILED, None, "provider.challenge_canceled", S.ABANDONED),
        (OperationStatus.FAILED, None, "provider.card_unknown", S.UNAVAILABLE),
        (OperationStatus.REFUSED, None, "vault.operation_abandoned", S.ABANDONED),
        (OperationStatus.UNKNOWN, None, None, S.PENDING),
        (OperationStatus.REQUIRES_ACTION, None, None, S.PENDING),
    ],
)
def test_what_an_answer_says_about_its_challenge(
    status: OperationStatus, code: str | None, reason: str | None, state: AuthenticationState
) -> None:
    assert state_after_challenge(status, code=code, reason=reason) is state


def test_what_waits_too_long_has_expired_or_was_abandoned() -> None:
    assert state_at(S.PENDING, 100, 99, opened=False) is S.PENDING
    assert state_at(S.PENDING, 100, 100, opened=False) is S.EXPIRED
    assert state_at(S.PENDING, 100, 100, opened=True) is S.ABANDONED
    assert state_at(S.AUTHENTICATED, 100, 500, opened=True) is S.AUTHENTICATED


PAID = ("ord_1", Money(1290, "EUR"), "mer_1", "nonce")


@pytest.mark.parametrize(
    "other",
    [
        ("ord_2", Money(1290, "EUR"), "mer_1", "nonce"),
        ("ord_1", Money(1291, "EUR"), "mer_1", "nonce"),
        ("ord_1", Money(1290, "USD"), "mer_1", "nonce"),
        ("ord_1", Money(1290, "EUR"), "mer_2", "nonce"),
        ("ord_1", Money(1290, "EUR"), "mer_1", "another"),
        ("ord_11290", Money(0, "EUR"), "mer_1", "nonce"),
    ],
)
def test_p14_the_link_is_specific_to_order_amount_currency_payee_and_nonce(
    other: tuple[str, Money, str, str],
) -> None:
    assert link_of(*PAID) == link_of(*PAID)
    assert len(link_of(*PAID)) == 32
    assert link_of(*PAID) != link_of(*other)


def test_p14_a_reference_binds_only_the_payment_it_was_made_for() -> None:
    order_id, amount, payee, nonce = PAID
    reference = AuthenticationReference("aut_1", nonce, link_of(*PAID).hex())
    again = AuthenticationReference.parse(str(reference))
    assert again == reference
    assert again.binds(order_id, amount, payee)
    assert not again.binds(order_id, Money(1291, "EUR"), payee)
    assert not again.binds(order_id, Money(1290, "USD"), payee)
    assert not again.binds(order_id, amount, "mer_2")
    assert not dataclasses.replace(again, nonce="x").binds(order_id, amount, payee)
    for text in ("", "passkey", "passkey.a.b", "passkey.a..c", "three_ds.a.b.c", "passkey.a.b.c.d"):
        with pytest.raises(ValueError):
            AuthenticationReference.parse(text)


def test_codes_are_read_as_people_type_them() -> None:
    code = new_user_code()
    assert set(code) <= set(USER_CODE_ALPHABET) and len(code) == 8
    assert not set(USER_CODE_ALPHABET) & set("AEIOUY0123456789")
    shown = shown_user_code(code)
    for typed in (code, shown, shown.lower(), f"  {code[:4]} {code[4:]} ", f"{code[:4]}\u2013{code[4:]}"):
        assert read_user_code(typed) == code
    for wrong in ("", "BCDF", "BCDF-GHJA", "BCDF-GHJ1", "B" * 9, "\u212aCDFGHJK", "B" * 10_000):
        assert read_user_code(wrong) is None


def test_names_of_actions_and_digests_of_codes_cannot_be_guessed_from_each_other() -> None:
    assert len({new_action_id() for _ in range(100)}) == 100
    assert len(new_action_id()) == len("act_") + 24
    assert user_code_digest("BCDFGHJK") != user_code_digest("BCDFGHJL")
    assert "BCDF" not in user_code_digest("BCDFGHJK").upper()
