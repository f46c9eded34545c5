"""Cards that come in encrypted: on a page or from a device. Both ways end in the same method as any card."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from tests.wallets.vault.sealing import document, one_card_key, sealed, sealed_card
from tests.wallets.vault.shop import CUSTOMER, Shop, card, eur
from wallets.vault import card_sessions
from wallets.vault.card_keys import HANDED_OUT_MS, OPENS_MS
from wallets.vault.card_sessions import MOST_ATTEMPTS, VALID_MS
from wallets.vault.embedded import EmbeddedVault
from wallets.vault.port import OperationStatus
from wallets.vault.providers import test_cards
from wallets.vault.providers.port import NoAnswerError


async def entered(vault: EmbeddedVault, url: str, number: str = test_cards.VISA, **changes: Any) -> Any:
    """What the page's script does."""
    secret = url.rsplit("/", 1)[1]
    key = await vault.card_key()
    return await vault.intake.enter(secret, sealed_card(key, card(number, **changes), secret))


def refusal(caught: pytest.ExceptionInfo[Any]) -> str:
    assert test_cards.VISA not in f"{caught.value!r} {caught.value.__context__!r}"
    return str(caught.value.code)


async def test_an_encrypted_card_becomes_a_method_that_pays(vault: EmbeddedVault, shop: Shop) -> None:
    key = await vault.card_key()
    method = await vault.store_sealed_card(CUSTOMER, sealed_card(key, card(), CUSTOMER))
    assert (method.brand, method.last4, method.customer_id) == ("visa", "4242", CUSTOMER)
    paid = await vault.authorize(shop.request(shop.terms(method, eur(10)), eur(10)))
    assert paid.status is OperationStatus.SUCCEEDED


async def test_an_encrypted_card_is_accepted_once(vault: EmbeddedVault) -> None:
    made = sealed_card(await vault.card_key(), card(), CUSTOMER)
    await vault.store_sealed_card(CUSTOMER, made)
    with pytest.raises(InvalidError) as caught:
        await vault.store_sealed_card(CUSTOMER, made)
    assert refusal(caught) == "card.sealed_replayed"
    made = sealed_card(await vault.card_key(), card(), CUSTOMER)
    results = await asyncio.gather(
        *(vault.store_sealed_card(CUSTOMER, made) for _ in range(20)), return_exceptions=True
    )
    assert [isinstance(one, Exception) for one in results].count(False) == 1


async def test_the_same_token_id_in_another_envelope_is_a_replay(vault: EmbeddedVault) -> None:
    key = await vault.card_key()
    content = document(card(), CUSTOMER, key.now_s)
    await vault.store_sealed_card(CUSTOMER, sealed(key, content))
    with pytest.raises(InvalidError) as caught:
        await vault.store_sealed_card(CUSTOMER, sealed(key, content))
    assert refusal(caught) == "card.sealed_replayed"


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": "cus_other"},
        {"iat": 0},
        {"iat": "now"},
        {"jti": "short"},
        {"jti": 7},
        {"more": True},
        {"card": {"number": test_cards.VISA}},
        {"card": None},
    ],
)
async def test_content_that_is_not_meant_for_this_is_refused(
    vault: EmbeddedVault, changes: dict[str, Any]
) -> None:
    key = await vault.card_key()
    with pytest.raises(InvalidError) as caught:
        await vault.store_sealed_card(CUSTOMER, sealed(key, document(card(), CUSTOMER, key.now_s, **changes)))
    assert refusal(caught) == "card.sealed_invalid"
    assert await vault.methods(CUSTOMER) == []


@pytest.mark.parametrize(
    "header", [{"alg": "RSA-OAEP"}, {"enc": "A128GCM"}, {"zip": "DEF"}, {"kid": "vck_other"}, {"cty": "x"}]
)
async def test_a_header_that_asks_for_anything_else_is_refused(
    vault: EmbeddedVault, header: dict[str, str]
) -> None:
    key = await vault.card_key()
    with pytest.raises(InvalidError) as caught:
        await vault.store_sealed_card(CUSTOMER, sealed(key, document(card(), CUSTOMER, key.now_s), **header))
    assert refusal(caught) == "card.sealed_invalid"


@pytest.mark.parametrize("text", ["", "a.b.c.d.e", "....", "x" * 9000, "not a token", '{"a":1}'])
async def test_text_that_is_no_encrypted_card_is_refused(vault: EmbeddedVault, text: str) -> None:
    with pytest.raises(InvalidError) as caught:
        await vault.store_sealed_card(CUSTOMER, text)
    assert refusal(caught) == "card.sealed_invalid"


async def test_every_flipped_character_is_refused(vault: EmbeddedVault) -> None:
    made = sealed_card(await vault.card_key(), card(), CUSTOMER)
    parts = made.split(".")
    for place, part in enumerate(parts):
        for at in (0, len(part) // 2):
            flipped = part[:at] + ("A" if part[at] != "A" else "B") + part[at + 1 :]
            with pytest.raises(InvalidError) as caught:
                await vault.store_sealed_card(
                    CUSTOMER, ".".join([*parts[:place], flipped, *parts[place + 1 :]])
                )
            assert refusal(caught) == "card.sealed_invalid"


async def test_an_unencrypted_card_that_calls_itself_encrypted_is_refused(vault: EmbeddedVault) -> None:
    """The ``alg`` attack: the token says that nothing was encrypted."""
    key = await vault.card_key()
    head = {"alg": "none", "enc": "A256GCM", "kid": key.key_id}
    parts = [json.dumps(head), "x", "x", json.dumps(document(card(), CUSTOMER, key.now_s)), "x"]
    text = ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)
    with pytest.raises(InvalidError) as caught:
        await vault.store_sealed_card(CUSTOMER, text)
    assert refusal(caught) == "card.sealed_invalid"


async def test_a_card_encrypted_long_ago_or_in_the_future_is_refused(
    vault: EmbeddedVault, clock: ManualClock
) -> None:
    key = await vault.card_key()
    for late_s in (61, -15 * 60):
        with pytest.raises(InvalidError) as caught:
            await vault.store_sealed_card(
                CUSTOMER, sealed(key, document(card(), CUSTOMER, key.now_s + late_s))
            )
        assert refusal(caught) == "card.sealed_invalid"
    for late_s in (60, -15 * 60 + 1):
        await vault.store_sealed_card(CUSTOMER, sealed(key, document(card(), CUSTOMER, key.now_s + late_s)))


async def test_the_key_changes_and_the_one_before_opens_a_day_longer(
    vault: EmbeddedVault, clock: ManualClock
) -> None:
    old = await vault.card_key()
    clock.advance(HANDED_OUT_MS)
    new = await vault.card_key()
    assert new.key_id != old.key_id
    iat = clock.now_ms() // 1000
    await vault.store_sealed_card(CUSTOMER, sealed(old, document(card(), CUSTOMER, iat)))
    clock.advance(OPENS_MS - HANDED_OUT_MS)
    iat = clock.now_ms() // 1000
    with pytest.raises(InvalidError) as caught:
        await vault.store_sealed_card(CUSTOMER, sealed(old, document(card(), CUSTOMER, iat)))
    assert refusal(caught) == "card.sealed_invalid"
    await vault.store_sealed_card(CUSTOMER, sealed(new, document(card(), CUSTOMER, iat)))


async def test_the_private_key_is_in_no_file_in_the_clear(own_vault: EmbeddedVault, tmp_path: Any) -> None:
    await own_vault.card_key()
    numbers = one_card_key().private_numbers()
    for number in (numbers.d, numbers.p, numbers.q):
        octets = number.to_bytes((number.bit_length() + 7) // 8, "big")
        for file in (tmp_path / "vault").rglob("*"):
            assert not file.is_file() or octets not in file.read_bytes(), file.name


async def test_a_page_takes_one_card_and_tells_gateways(
    vault: EmbeddedVault, own_vault: EmbeddedVault, clock: ManualClock
) -> None:
    session = await vault.open_card_session(CUSTOMER, "https://shop.example/done")
    assert session.expires_at_ms == clock.now_ms() + VALID_MS
    assert len(session.url.rsplit("/", 1)[1]) == 32, "192 bits, at least 128 are asked for"
    method = await entered(own_vault, session.url)
    assert await vault.methods(CUSTOMER) == [method]
    page = await vault.methods_since("", 10)
    assert page.methods == (method,)
    assert (await vault.methods_since(page.cursor, 10)).methods == ()
    with pytest.raises(ConflictError) as caught:
        await entered(own_vault, session.url, test_cards.MASTERCARD)
    assert refusal(caught) == "card_session.used"
    # The same card again, with its new expiry, is told again.
    session = await vault.open_card_session(CUSTOMER, None)
    renewed = await entered(own_vault, session.url, expiry_year=2032)
    clock.advance(1_000)
    assert (await vault.methods_since(page.cursor, 10)).methods == (renewed,)


async def test_a_page_expires_and_is_unknown_to_who_guesses(
    own_vault: EmbeddedVault, clock: ManualClock
) -> None:
    session = await own_vault.open_card_session(CUSTOMER, None)
    for guess in (
        session.url[:-1] + ("A" if session.url[-1] != "A" else "B"),
        "/cards/x",
        "/cards/" + "A" * 32,
    ):
        with pytest.raises(NotFoundError):
            await entered(own_vault, guess)
    clock.advance(VALID_MS)
    with pytest.raises(ConflictError) as caught:
        await entered(own_vault, session.url)
    assert refusal(caught) == "card_session.expired"


async def test_a_card_encrypted_on_one_page_is_refused_on_another(own_vault: EmbeddedVault) -> None:
    one = (await own_vault.open_card_session(CUSTOMER, None)).url.rsplit("/", 1)[1]
    other = (await own_vault.open_card_session("cus_other", None)).url.rsplit("/", 1)[1]
    made = sealed_card(await own_vault.card_key(), card(), one)
    with pytest.raises(InvalidError) as caught:
        await own_vault.intake.enter(other, made)
    assert refusal(caught) == "card.sealed_invalid"
    assert await own_vault.methods("cus_other") == []


async def test_a_page_is_no_place_to_try_numbers(own_vault: EmbeddedVault) -> None:
    session = await own_vault.open_card_session(CUSTOMER, None)
    for _ in range(MOST_ATTEMPTS):
        with pytest.raises(InvalidError) as refused:
            await entered(own_vault, session.url, test_cards.WRONG_SECURITY_CODE)
        assert refused.value.code == "card.declined"
    with pytest.raises(ConflictError) as caught:
        await entered(own_vault, session.url)
    assert refusal(caught) == "card_session.expired"


async def test_two_cards_at_once_on_one_page_store_one(own_vault: EmbeddedVault) -> None:
    session = await own_vault.open_card_session(CUSTOMER, None)
    results = await asyncio.gather(
        entered(own_vault, session.url),
        entered(own_vault, session.url, test_cards.MASTERCARD),
        return_exceptions=True,
    )
    assert [isinstance(one, Exception) for one in results].count(False) == 1
    assert len(await own_vault.methods(CUSTOMER)) == 1


async def test_an_attempt_that_lost_its_page_stores_nothing_and_frees_nobody_elses(
    own_vault: EmbeddedVault, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than a page waits: a second attempt begins, and the first must not count beside it."""
    session = await own_vault.open_card_session(CUSTOMER, None)
    provider = own_vault._providers.default
    verify, held, goes_on = provider.verify, asyncio.Event(), asyncio.Event()

    async def slow(found: Any) -> Any:
        if found.number.reveal() == test_cards.MASTERCARD and not goes_on.is_set():
            held.set()
            await goes_on.wait()
        return await verify(found)

    monkeypatch.setattr(provider, "verify", slow)
    first = asyncio.create_task(entered(own_vault, session.url, test_cards.MASTERCARD))
    await held.wait()
    clock.advance(31_000)
    method = await entered(own_vault, session.url)
    goes_on.set()
    with pytest.raises(ConflictError) as caught:
        await first
    assert refusal(caught) == "card_session.busy"
    assert await own_vault.methods(CUSTOMER) == [method]
    clock.advance(1_000)
    assert (await own_vault.methods_since("", 10)).methods == (method,)


async def test_a_failed_attempt_does_not_free_a_page_that_another_has(
    own_vault: EmbeddedVault, clock: ManualClock
) -> None:
    secret = (await own_vault.open_card_session(CUSTOMER, None)).url.rsplit("/", 1)[1]

    async def begin():
        return await own_vault.store.write(lambda uow: card_sessions.begin_attempt(uow, secret))

    first = await begin()
    clock.advance(31_000)
    second = await begin()
    assert (first.attempt, second.attempt) == (1, 2)
    await own_vault.store.write(lambda uow: card_sessions.give_free(uow, secret, first.attempt))
    with pytest.raises(ConflictError, match=r"card_session\.busy"):
        await begin()
    await own_vault.store.write(lambda uow: card_sessions.give_free(uow, secret, second.attempt))
    assert (await begin()).attempt == 3


async def test_an_encrypted_card_can_be_sent_again_after_the_provider_was_away(
    own_vault: EmbeddedVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await own_vault.card_key()
    text = sealed(key, document(card(), CUSTOMER, key.now_s))

    async def away(_: Any) -> Any:
        raise NoAnswerError("away")

    with monkeypatch.context() as patch:
        patch.setattr(own_vault._providers.default, "verify", away)
        with pytest.raises(UnavailableError):
            await own_vault.store_sealed_card(CUSTOMER, text)
    assert (await own_vault.store_sealed_card(CUSTOMER, text)).last4 == "4242"
    with pytest.raises(InvalidError, match=r"card\.sealed_replayed"):
        await own_vault.store_sealed_card(CUSTOMER, text)


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example/",
        "javascript:alert(1)",
        "https:///x",
        "https://a b",
        "//shop.example",
        "x" * 3000,
    ],
)
async def test_a_page_links_only_to_where_it_may(vault: EmbeddedVault, url: str) -> None:
    with pytest.raises(InvalidError) as caught:
        await vault.open_card_session(CUSTOMER, url)
    assert refusal(caught) == "card_session.return_url"


@pytest.mark.parametrize("url", ["https://shop.example/a?b=c", "http://localhost:3000/", None])
async def test_a_page_may_link_back_over_tls_or_to_this_machine(
    vault: EmbeddedVault, url: str | None
) -> None:
    assert (await vault.open_card_session(CUSTOMER, url)).url


@pytest.mark.parametrize("cursor", ["x", "12", ".ent", "-1.ent", "9" * 5_000 + ".ent", "9" * 19 + ".ent"])
async def test_a_malformed_cursor_of_methods_is_refused(vault: EmbeddedVault, cursor: str) -> None:
    with pytest.raises(InvalidError) as caught:
        await vault.methods_since(cursor, 10)
    assert refusal(caught) == "vault.cursor_malformed"
