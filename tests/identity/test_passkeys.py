"""Passkeys: what a registration and an assertion must show (P16), with an authenticator in software."""

from __future__ import annotations

import secrets
from collections import namedtuple
from typing import Any

import pytest

from gateway.identity.passkeys import (
    NewPasskey,
    RelyingParty,
    asserting_passkey,
    assertion_options,
    check_assertion,
    check_registration,
    registration_options,
    relying_party,
)
from gateway.kernel.errors import ErrorClass, VitrineError
from tests.support.authenticator import SoftAuthenticator

ORIGIN = "https://shop.example"
CHALLENGE = secrets.token_bytes(32)
Row = namedtuple("Row", "passkey_id credential_id customer_id public_key sign_count transports")


@pytest.fixture
def party() -> RelyingParty:
    found = relying_party(ORIGIN, "Shop")
    assert found is not None
    return found


def authenticator(**given: Any) -> SoftAuthenticator:
    return SoftAuthenticator(ORIGIN, **{"rp_id": "shop.example", **given})


def registered(party: RelyingParty, device: SoftAuthenticator) -> NewPasskey:
    options = registration_options(party, "cus_1", "Shopping", CHALLENGE, [])
    return check_registration(party, device.create(options), CHALLENGE)


def row_of(new: NewPasskey, **changes: Any) -> Row:
    row = Row("pky_1", new.credential_id, "cus_1", new.public_key, new.sign_count, '["internal"]')
    return row._replace(**changes)


def refused(work: Any) -> None:
    with pytest.raises(VitrineError) as error:
        work()
    assert (error.value.code, error.value.error_class) == ("passkey.refused", ErrorClass.SCA)


def test_passkeys_need_a_domain_and_a_safe_connection() -> None:
    assert relying_party("http://127.0.0.1:8080", "x") is None
    assert relying_party("http://[::1]:8080", "x") is None
    assert relying_party("http://shop.example", "x") is None
    assert relying_party("", "x") is None
    local = relying_party("http://localhost:8080", "x", ["android:apk-key-hash:abc"])
    assert local is not None
    assert local.rp_id == "localhost"
    assert local.origins == ("http://localhost:8080", "android:apk-key-hash:abc")


def test_p16_a_passkey_is_asked_to_be_discoverable_and_to_verify_its_user(party: RelyingParty) -> None:
    device = authenticator()
    row = row_of(registered(party, device))
    made = registration_options(party, "cus_1", "Shopping", CHALLENGE, [row])
    assert made["authenticatorSelection"] == {
        "residentKey": "required",
        "requireResidentKey": True,
        "userVerification": "required",
    }
    assert [one["id"] for one in made["excludeCredentials"]] == [device.id]
    asked = assertion_options(party, CHALLENGE, [row])
    assert asked["userVerification"] == "required"
    assert asked["rpId"] == "shop.example"
    assert [one["id"] for one in asked["allowCredentials"]] == [device.id]


def test_p16_counter_and_backup_flags_are_kept(party: RelyingParty) -> None:
    new = registered(party, authenticator())
    assert (new.sign_count, new.backup_eligible, new.backed_up) == (0, False, False)
    synced = registered(party, authenticator(counts=False))
    assert (synced.backup_eligible, synced.backed_up) == (True, True)
    assert synced.transports == ("internal",)


def test_p16_a_good_assertion_is_accepted_and_its_counter_grows(party: RelyingParty) -> None:
    device = authenticator()
    row = row_of(registered(party, device))
    answer = device.get(assertion_options(party, CHALLENGE, [row]))
    found = check_assertion(party, row, answer, CHALLENGE)
    assert (found.passkey_id, found.old_count, found.new_count) == ("pky_1", 0, 1)
    assert not found.clone_suspected


@pytest.mark.parametrize(
    "wrong",
    [
        {"verified": False},
        {"rp_id": "evil.example"},
        {"origin": "https://evil.example"},
        {"cross_origin": True},
        {"user_handle": "Y3VzXzI"},
    ],
)
def test_p16_without_user_verification_or_for_another_site_or_person_it_is_refused(
    party: RelyingParty, wrong: dict[str, Any]
) -> None:
    device = authenticator()
    row = row_of(registered(party, device))
    for name, value in wrong.items():
        setattr(device, name, value)
    answer = device.get(assertion_options(party, CHALLENGE, [row]))
    refused(lambda: check_assertion(party, row, answer, CHALLENGE))


def test_p16_an_assertion_for_another_payment_is_refused(party: RelyingParty) -> None:
    device = authenticator()
    row = row_of(registered(party, device))
    answer = device.get(assertion_options(party, CHALLENGE, [row]))
    refused(lambda: check_assertion(party, row, answer, secrets.token_bytes(32)))


def test_p16_another_key_cannot_sign_for_it(party: RelyingParty) -> None:
    device = authenticator()
    row = row_of(registered(party, device))
    thief = authenticator(credential_id=device.credential_id)
    answer = thief.get(assertion_options(party, CHALLENGE, [row]))
    refused(lambda: check_assertion(party, row, answer, CHALLENGE))


def test_p16_a_counter_that_does_not_grow_tells_of_a_clone(party: RelyingParty) -> None:
    device = authenticator()
    row = row_of(registered(party, device), sign_count=5)
    device.count = 4
    answer = device.get(assertion_options(party, CHALLENGE, [row]))
    assert check_assertion(party, row, answer, CHALLENGE).clone_suspected
    grown = device.get(assertion_options(party, CHALLENGE, [row]))
    assert not check_assertion(party, row, grown, CHALLENGE).clone_suspected


def test_a_synced_passkey_without_a_counter_is_no_clone(party: RelyingParty) -> None:
    device = authenticator(counts=False)
    row = row_of(registered(party, device))
    answer = device.get(assertion_options(party, CHALLENGE, [row]))
    assert not check_assertion(party, row, answer, CHALLENGE).clone_suspected


@pytest.mark.parametrize("wrong", [{"verified": False}, {"rp_id": "evil.example"}, {"cross_origin": True}])
def test_p16_a_registration_without_user_verification_or_for_another_site_is_refused(
    party: RelyingParty, wrong: dict[str, Any]
) -> None:
    refused(lambda: registered(party, authenticator(**wrong)))


@pytest.mark.parametrize(
    "rubbish",
    [
        {},
        {"response": None},
        {"id": 1, "response": {}},
        {"id": "a", "rawId": "a", "type": "public-key", "response": {"clientDataJSON": "e30"}},
        {"id": "a", "rawId": "a", "type": "public-key", "response": {"clientDataJSON": "W10"}},
        {"id": "a", "response": {"clientDataJSON": 7}},
    ],
)
def test_rubbish_is_refused_and_breaks_nothing(party: RelyingParty, rubbish: dict[str, Any]) -> None:
    row = row_of(registered(party, authenticator()))
    refused(lambda: check_registration(party, rubbish, CHALLENGE))
    refused(lambda: check_assertion(party, row, rubbish, CHALLENGE))


@pytest.mark.parametrize("named", ["", "\ud800", "\0", "\u00e9", "A" * 100_000, 5, None, ["AAAA"]])
def test_a_credential_that_is_none_is_looked_up_nowhere(named: Any) -> None:
    """No database takes half a character."""

    class NoDatabase:
        def row(self, *_: Any) -> None:
            raise AssertionError

    refused(lambda: asserting_passkey(NoDatabase(), "cus_1", {"id": named}))  # type: ignore[arg-type]  # never asked
