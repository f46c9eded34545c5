"""Storing a method that is no typed card: checked by its kind, then kept encrypted like a card.

A terminal's token, a wallet's payload, a SEPA mandate, cash, a voucher. Wallets' payloads are verified and
not opened; they hold a cryptogram for one payment, so one that came in before is refused, and the record goes
with the first attempt to pay with it (`wallets.vault.service`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cryptography import x509

from gateway.kernel.clock import Clock, utc_datetime
from gateway.kernel.documents import encode
from gateway.kernel.errors import ConflictError, InvalidError
from gateway.kernel.store.unit import Store, UnitOfWork
from wallets.vault.inserts import insert_named
from wallets.vault.number_search import holds_card_number
from wallets.vault.port import REFUSALS, MethodKind, PassedMethod, StoredMethod
from wallets.vault.providers import iban
from wallets.vault.providers.apple_pay import check_apple_pay
from wallets.vault.providers.google_pay import RootKey, check_google_pay
from wallets.vault.providers.payloads import PayloadRefusedError
from wallets.vault.providers.port import Capabilities
from wallets.vault.providers.voucher import VoucherBook
from wallets.vault.registry import Providers
from wallets.vault.secret import Secret
from wallets.vault.tables import wallet_payload
from wallets.vault.tokenizing import MethodStore, keep_passed

SINGLE_USE = frozenset({MethodKind.APPLE_PAY.value, MethodKind.GOOGLE_PAY.value})
"""Kinds whose record is destroyed with the first attempt (PCI DSS 3.3.1, EMV payment tokenisation)."""
_LONGEST_TOKEN = 512
_MANDATE = re.compile(r"[A-Za-z0-9+?/:().,' -]{1,35}")
"""Characters and length of a mandate reference (SEPA core direct debit rulebook, AT-01)."""
_ACCOUNT_REFERENCE = re.compile(r"[A-Z0-9]{29}")
_LAST4 = re.compile(r"[0-9]{4}")
_BRANDS = frozenset(
    {
        *("", "visa", "mastercard", "amex", "discover", "diners", "jcb", "unionpay", "maestro", "interac"),
        *("eftpos", "girocard", "cartes_bancaires", "bancomat", "dankort", "elo", "rupay", "other"),
        *("apple_pay", "google_pay"),
    }
)
"""What may be shown of a method as its brand: nothing that a caller could write freely."""
_SEEN = insert_named(wallet_payload, "digest stored_at_ms good_until_ms")
_LATEST_MS = 2**53 - 1


@dataclass(frozen=True, slots=True)
class WalletTrust:
    """Whose signatures on wallets' payloads count. A wallet without roots is not taken."""

    google_roots: Sequence[RootKey] = ()
    google_recipient: str = ""
    """``gateway:<name>`` or ``merchant:<id>``, as registered with Google."""
    apple_roots: Sequence[x509.Certificate] = ()


class PassedMethods:
    """Checks and stores methods of every kind but typed cards."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        into: MethodStore,
        providers: Providers,
        *,
        trust: WalletTrust | None = None,
        vouchers: VoucherBook | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._into = into
        self._providers = providers
        self._trust = trust or WalletTrust()
        self._vouchers = vouchers

    async def store(self, customer_id: str, passed: PassedMethod) -> StoredMethod:
        """Return the customer's method. Raises as `port.Vault.store_method` says."""
        provider = self._providers.taking(passed.kind)
        if provider is None or passed.kind is MethodKind.CARD:
            raise _unsupported()
        checked = await self._checked(passed)
        _check_live(provider.capabilities, passed)
        return await keep_passed(self._into, customer_id, checked, provider.capabilities.name)

    async def _checked(self, passed: PassedMethod) -> PassedMethod:
        match passed.kind:
            case MethodKind.CARD_PRESENT:
                return _card_present(passed)
            case MethodKind.APPLE_PAY | MethodKind.GOOGLE_PAY:
                return await self._wallet(passed)
            case MethodKind.SEPA_DEBIT:
                return _mandate(passed)
            case MethodKind.CASH:
                return PassedMethod(MethodKind.CASH, Secret("cash"), "cash")
            case MethodKind.VOUCHER:
                return await self._voucher(passed)
            case _:
                raise _unsupported()

    async def _wallet(self, passed: PassedMethod) -> PassedMethod:
        payload, now_ms = passed.reference.reveal(), self._clock.now_ms()
        trust = self._trust
        try:
            if passed.kind is MethodKind.APPLE_PAY:
                if not trust.apple_roots:
                    raise _unsupported()
                checked = check_apple_pay(payload, roots=trust.apple_roots, now_ms=now_ms)
            else:
                if not trust.google_roots:
                    raise _unsupported()
                checked = check_google_pay(
                    payload, roots=trust.google_roots, recipient=trust.google_recipient, now_ms=now_ms
                )
        except PayloadRefusedError as error:
            raise InvalidError(
                "method.payload_refused",
                "The wallet's payment was not accepted.",
                param="$.reference",
                data={"reason": str(error)},
            ) from None
        digest = hashlib.sha256(passed.kind.encode() + b"\x00" + checked.identity).digest()

        good_until_ms = min(checked.refused_from_ms, _LATEST_MS)

        def see(uow: UnitOfWork) -> bool:
            row = {"digest": digest, "stored_at_ms": uow.now_ms, "good_until_ms": good_until_ms}
            return bool(uow.run(_SEEN, row))

        if not await self._store.write(see):
            raise ConflictError("method.payload_replayed", "This wallet payment was handed in before.")
        return replace(_shown(passed), brand=passed.brand or passed.kind.value)

    async def _voucher(self, passed: PassedMethod) -> PassedMethod:
        found = None if self._vouchers is None else await self._vouchers.of_code(passed.reference)
        if found is None:
            raise InvalidError("method.voucher_unknown", "This voucher does not exist.", param="$.reference")
        if self._clock.now_ms() >= found.expires_at_ms:
            raise InvalidError("method.voucher_expired", "This voucher has expired.", param="$.reference")
        ends = utc_datetime(found.expires_at_ms)
        # The code is not kept: the voucher's id pays only inside this vault.
        return PassedMethod(
            MethodKind.VOUCHER, Secret(found.voucher_id), "voucher", found.last4, ends.month, ends.year
        )


def _card_present(passed: PassedMethod) -> PassedMethod:
    token = passed.reference.reveal()
    if not 0 < len(token) <= _LONGEST_TOKEN or not token.isascii():
        raise _invalid("reference", "The terminal's token is not valid.")
    # A terminal encrypts what it reads; a number in the clear means that one does not (PCI P2PE).
    if holds_card_number(token):
        raise InvalidError(
            "method.card_number_refused",
            "This holds a card number: it is no terminal's token.",
            param="$.reference",
        )
    return _shown(passed)


def _check_live(able: Capabilities, passed: PassedMethod) -> None:
    if able.test_references is None:
        return
    reference = passed.reference.reveal()
    if passed.kind is MethodKind.SEPA_DEBIT:
        reference = iban.normalized(reference)
    elif passed.kind is not MethodKind.CARD_PRESENT:
        return  # a wallet's payload pays with its roots' signature only
    if reference not in able.test_references:
        raise InvalidError(
            "vault.live_card_refused", "Only test cards and accounts are accepted here.", param="$.reference"
        )


def _mandate(passed: PassedMethod) -> PassedMethod:
    account = iban.normalized(passed.reference.reveal())
    if not iban.is_valid(account):
        raise _invalid("reference", "The account number (IBAN) is not valid.")
    mandate = passed.mandate_reference.strip()
    if not _MANDATE.fullmatch(mandate):
        raise _invalid("mandate_reference", "The mandate reference is not valid.")
    secret = Secret(encode([account, mandate]))
    return PassedMethod(MethodKind.SEPA_DEBIT, secret, "sepa", account[-4:], mandate_reference=mandate)


def _shown(passed: PassedMethod) -> PassedMethod:
    """Check what will be shown of a method: it comes from outside, and no number may slip in."""
    if passed.brand not in _BRANDS:
        raise _invalid("brand", "The brand is not valid.")
    if passed.last4 and not _LAST4.fullmatch(passed.last4):
        raise _invalid("last4", "The last four digits are not valid.")
    if not 0 <= passed.expiry_month <= 12 or not 0 <= passed.expiry_year <= 9999:
        raise _invalid("expiry_month", "The expiry is not valid.")
    account = passed.account_reference
    if account is not None and (not _ACCOUNT_REFERENCE.fullmatch(account) or holds_card_number(account)):
        raise _invalid("account_reference", "The payment account reference is not valid.")
    return passed


def _unsupported() -> InvalidError:
    return InvalidError("vault.method_kind", REFUSALS["vault.method_kind"], param="$.kind")


def _invalid(field: str, message: str) -> InvalidError:
    return InvalidError("method.invalid", message, param=f"$.{field}")
