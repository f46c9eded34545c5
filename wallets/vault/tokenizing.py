"""Storing a card: check, recognize, verify with the provider, encrypt, insert or get.

The security code goes to the provider once and is forgotten; no record, row, log or error ever holds it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from gateway.kernel.clock import Clock
from gateway.kernel.errors import ConflictError, InvalidError, UnavailableError
from gateway.kernel.ids import IdSource
from gateway.kernel.store.unit import Store, UnitOfWork
from gateway.kernel.subjects import PaymentMethodId
from wallets.vault import attempts, methods
from wallets.vault.audit import OK, Action, Actor, current_actor, note
from wallets.vault.card_testing import CardTesting
from wallets.vault.cards import brand_of, check_details, check_number
from wallets.vault.crypto import RecordPlace, open_record, seal
from wallets.vault.keys import KeyRing, Keys
from wallets.vault.kms import KeysUnavailableError, KeyUseError, Kms
from wallets.vault.port import CardEntry, MethodKind, PassedMethod, StoredMethod
from wallets.vault.provider_calls import ProviderCalls
from wallets.vault.providers.port import (
    Capabilities,
    ClearCard,
    Instrument,
    NoAnswerError,
    Outcome,
    PassedInstrument,
    ProviderAnswer,
)
from wallets.vault.secret import Secret

_TRIES = 8
_KEYS_AWAY = "vault.keys_unavailable"
_SINGLE_USE = frozenset({MethodKind.APPLE_PAY, MethodKind.GOOGLE_PAY})
"""Kinds whose payload holds a cryptogram for one payment: there is nothing to recognize again (V13)."""

AlsoStored = Callable[[UnitOfWork, str | None], None]
"""What is done in the unit that stores a method. Called first with None, when it may still refuse, and with
the method's id once that is stored."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is to be stored of a method, and what may be shown of it."""

    instrument: Instrument
    text: bytes
    """What is encrypted."""
    columns: dict[str, Any]
    is_recognized: bool = True
    """Off: it becomes a new method each time."""

    @property
    def expiry(self) -> tuple[int, int]:
        return (self.columns["expiry_month"], self.columns["expiry_year"])


class MethodStore:
    """Encrypts and inserts methods, under whatever keys are current."""

    def __init__(self, store: Store, kms: Kms, ring: KeyRing, ids: IdSource) -> None:
        self._store = store
        self._kms = kms
        self._ring = ring
        self._ids = ids
        self.testing = CardTesting(store, kms, ring)

    async def put(
        self, actor: Actor, customer_id: str, entry: Entry, also: AlsoStored | None = None
    ) -> StoredMethod:
        """Insert the method, or find the customer's and renew it. Raises UnavailableError, KeyUseError.

        ``also`` is called in the unit that stores it; what it raises leaves nothing stored.
        """
        for _ in range(_TRIES):
            keys = await self._ring.keys()
            row = await self._insert_or_get(actor, keys, customer_id, entry, also)
            if row is not None and (row.expiry_month, row.expiry_year) != entry.expiry:
                row = await self._renew(actor, keys, row, entry)
            if row is not None:
                return methods.stored_method(row)
            self._ring.out_of_date(keys)
        raise UnavailableError(
            "vault.busy", "The payment method is being changed elsewhere; try again.", retry_after_ms=500
        )

    async def _insert_or_get(
        self, actor: Actor, keys: Keys, customer_id: str, entry: Entry, also: AlsoStored | None
    ) -> Any:
        """Return the customer's row; None if the keys have changed meanwhile and nothing was written."""
        place = RecordPlace(self._ids.new(PaymentMethodId), customer_id, methods.PURPOSE, 1)
        values = {
            "payment_method_id": place.token_id,
            "customer_id": customer_id,
            **entry.columns,
            **methods.record_columns(place, await seal(self._kms, keys.kek_id, place, entry.text)),
            **await self._fingerprints(keys, entry),
        }

        older = await self._older_fingerprints(keys, entry)

        def insert_or_get(uow: UnitOfWork) -> Any:
            if not keys.hold(uow):
                return None
            if also is not None:
                also(uow, None)
            for key_id, fingerprint in older:
                _move_to_current_key(uow, key_id, fingerprint, values)
            row: Any = None
            if entry.is_recognized and keys.old_fingerprint_key_id is not None:
                row = uow.row(methods.GET_BY_EITHER_FINGERPRINT, values)
            is_new = row is None and uow.run(methods.INSERT, {**values, "created_at_ms": uow.now_ms}) == 1
            if is_new:
                row = methods.as_row({**values, "created_at_ms": uow.now_ms})
            elif row is None:
                row = uow.row(methods.GET_BY_FINGERPRINT, values)
            if values["account_reference"] is not None and row.account_reference is None:
                methods.learn_account(uow, row.payment_method_id, values["account_reference"])
            outcome = OK if is_new else "known"
            note(uow, actor, Action.METHOD_STORE, row.payment_method_id, outcome=outcome)
            if also is not None:
                also(uow, row.payment_method_id)
            return row

        return await self._store.write(insert_or_get)

    async def _fingerprints(self, keys: Keys, entry: Entry) -> dict[str, Any]:
        if not entry.is_recognized:
            return {"fingerprint_key_id": None, "fingerprint": None}
        found: dict[str, Any] = {
            "fingerprint_key_id": keys.fingerprint_key_id,
            "fingerprint": await methods.fingerprint_of(self._kms, keys.fingerprint_key_id, entry.instrument),
        }
        if keys.old_fingerprint_key_id is not None:
            found["old_fingerprint_key_id"] = keys.old_fingerprint_key_id
            found["old_fingerprint"] = await methods.fingerprint_of(
                self._kms, keys.old_fingerprint_key_id, entry.instrument
            )
        return found

    async def _older_fingerprints(self, keys: Keys, entry: Entry) -> list[tuple[str, bytes]]:
        """What the card was known by under keys before the current one, where anything is left under them.

        A rotation moves what belongs to a stored card. Of a card that was removed only its number tells what
        networks have forbidden, and the number is here now.
        """
        found: list[tuple[str, bytes]] = []
        if not entry.is_recognized:
            return found
        for older in keys.older_fingerprint_keys:
            key_id = older.key_id
            if not await self._store.read(partial(attempts.are_known_under, key_id=key_id)):
                continue
            try:
                found.append((key_id, await methods.fingerprint_of(self._kms, key_id, entry.instrument)))
            except KeysUnavailableError:
                raise
            except KeyUseError:
                continue  # destroyed: nothing is recognised with it any more
        return found

    async def _renew(self, actor: Actor, keys: Keys, row: Any, entry: Entry) -> Any:
        """Give a known card its new expiry: the customer has typed in the reissued card.

        Returns None when somebody else changed it, or the keys, first: then it is looked at again.
        """
        place = RecordPlace(row.payment_method_id, row.customer_id, methods.PURPOSE, row.record_version + 1)
        values = {
            "payment_method_id_": row.payment_method_id,
            "payment_method_id": row.payment_method_id,
            "record_version_": row.record_version,
            "expiry_month": entry.columns["expiry_month"],
            "expiry_year": entry.columns["expiry_year"],
            **methods.record_columns(place, await seal(self._kms, keys.kek_id, place, entry.text)),
        }

        def renew_and_get(uow: UnitOfWork) -> Any:
            if not (keys.hold(uow) and uow.run(methods.RENEW, values)):
                return None
            note(uow, actor, Action.METHOD_STORE, row.payment_method_id, outcome="renewed")
            return uow.row(methods.GET, values)

        return await self._store.write(renew_and_get)

    async def add_network_token(self, actor: Actor, row: Any, network_token: Secret) -> None:
        """Put a network token into a card's record. Whoever changes the record meanwhile wins.

        Raises RecordUnreadableError, KeyUseError.
        """
        keys = await self._ring.keys()
        plain = await open_record(self._kms, methods.place_of(row), methods.record_of(row))
        place = RecordPlace(row.payment_method_id, row.customer_id, methods.PURPOSE, row.record_version + 1)
        text = methods.with_network_token(plain, network_token)
        values = {
            "payment_method_id_": row.payment_method_id,
            "record_version_": row.record_version,
            "expiry_month": row.expiry_month,
            "expiry_year": row.expiry_year,
            **methods.record_columns(place, await seal(self._kms, keys.kek_id, place, text)),
        }

        def renew(uow: UnitOfWork) -> None:
            if keys.hold(uow) and uow.run(methods.RENEW, values):
                note(uow, actor, Action.METHOD_STORE, row.payment_method_id, outcome="network_token")

        await self._store.write(renew)


def _move_to_current_key(uow: UnitOfWork, key_id: str, fingerprint: bytes, current: dict[str, Any]) -> None:
    """Move what is known of a card from an older key to the current one."""
    new = {
        "old_fingerprint": fingerprint,
        "new_fingerprint": current["fingerprint"],
        "new_key_id": current["fingerprint_key_id"],
    }
    # Everybody's, so that nobody's card is without its attempts while a rotation is half way.
    uow.run(methods.REFINGERPRINT, {**new, "old_key_id": key_id})
    uow.run(attempts.REFINGERPRINT, new)


async def tokenize(
    store: Store,
    provider: ProviderCalls,
    into: MethodStore,
    clock: Clock,
    *,
    customer_id: str,
    card: CardEntry,
    also: AlsoStored | None = None,
) -> StoredMethod:
    """Return the customer's method for this card. Raises as `port.Vault.tokenize` says."""
    actor = current_actor()
    check_number(card)
    check_details(card, clock.now_ms())
    try:
        _check_live(provider.capabilities, card)
        async with into.testing.check(card.number, clock.now_ms()):
            answer = await _verify(provider, card)
        return await into.put(actor, customer_id, _entry(card, answer, provider.capabilities.name), also)
    except (InvalidError, ConflictError, UnavailableError, KeysUnavailableError) as error:
        reason = _KEYS_AWAY if isinstance(error, KeysUnavailableError) else error.code
        # The refused attempt is on the record too; of the card nothing is.
        await store.write(
            lambda uow: note(uow, actor, Action.METHOD_STORE, "", outcome=reason, detail=customer_id)
        )
        if isinstance(error, KeysUnavailableError):
            raise UnavailableError(
                _KEYS_AWAY, "The card can not be stored now; try again.", retry_after_ms=2_000
            ) from None
        raise


async def keep_passed(
    into: MethodStore, customer_id: str, passed: PassedMethod, provider: str
) -> StoredMethod:
    """Return the customer's method for a secret that is the provider's own (`PassedMethod`).

    The provider named has verified it. Raises UnavailableError, KeyUseError.
    """
    entry = Entry(
        PassedInstrument(passed.kind, passed.reference),
        methods.passed_text(passed),
        {
            "kind": passed.kind.value,
            "brand": passed.brand,
            "last4": passed.last4,
            "expiry_month": passed.expiry_month,
            "expiry_year": passed.expiry_year,
            "account_reference": passed.account_reference,
            "provider": provider,
        },
        is_recognized=passed.kind not in _SINGLE_USE,
    )
    return await into.put(current_actor(), customer_id, entry)


def _entry(card: CardEntry, answer: ProviderAnswer, provider: str) -> Entry:
    number = card.number.reveal()
    return Entry(
        ClearCard(card.number, card.expiry_month, card.expiry_year, card.holder),
        methods.record_text(card, answer.network_token),
        {
            "kind": MethodKind.CARD.value,
            "brand": brand_of(number),
            "last4": number[-4:],
            "expiry_month": card.expiry_month,
            "expiry_year": card.expiry_year,
            "account_reference": answer.account_reference,
            "provider": provider,
        },
    )


def _check_live(capabilities: Capabilities, card: CardEntry) -> None:
    numbers = capabilities.test_numbers
    if numbers is not None and card.number.reveal() not in numbers:
        raise InvalidError("vault.live_card_refused", "Only test cards are accepted here.", param="$.number")


async def _verify(provider: ProviderCalls, card: CardEntry) -> ProviderAnswer:
    clear = ClearCard(card.number, card.expiry_month, card.expiry_year, card.holder, card.security_code)
    try:
        answer = await provider.verify(clear)
    except NoAnswerError:
        raise UnavailableError(
            "vault.provider_unavailable", "The card can not be checked now; try again.", retry_after_ms=2_000
        ) from None
    if answer.outcome is Outcome.SUCCEEDED:
        return answer
    if answer.outcome is Outcome.DECLINED and answer.decline is not None:
        raise InvalidError(
            "card.declined",
            answer.decline.message,
            data={"network_code": answer.decline.code, "decline_class": answer.decline.decline_class.value},
        )
    raise InvalidError("card.invalid", "The card was not accepted.", param="$.number")
