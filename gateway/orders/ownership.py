"""What a customer owns, as a world may see it, and the notices that worlds are written about it.

A notice is written in the unit of its fact, for every world that the player lets see their items at that
moment. `gateway.webhooks` sends it.

    item.granted   minted, or granted as an entitlement; bought wherever it was
    item.moved     a token is in another wallet
    item.revoked   returned, taken back, or lost in a reorganization of the chain
    items.changed  a wallet was linked or unlinked, with whatever is in it: the list is to be read again

A block that is lost and minted again is no news to a world: the item stays what and whose it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import bindparam, or_, select

from gateway.identity.worlds import PlayerConsent, Scope, told_about
from gateway.kernel.documents import decode
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.orders.item_ids import item_id_of, to_the_second
from gateway.orders.model import LegState
from gateway.orders.purchase import Leg, Purchase
from gateway.orders.tables import entitlement, leg, order, order_line
from gateway.webhooks.outbox import write_notice
from wallets.custody.accounts import account_of, is_exported
from wallets.custody.linking import LinkedWallet, linked_wallets
from wallets.custody.tables import linked_wallet
from wallets.minting.model import MintState
from wallets.minting.tables import mint

_TOKEN_FIELDS = ("chain_id", "contract", "token_id", "serial")
"""What is told of a token. The transaction is not: it leads to the wallet."""
_RETURNING = (LegState.RETURNING.value, LegState.CAPTURE_FAILED.value)
_IN_A_BLOCK = (MintState.MINTED.value, MintState.FINAL.value)

_leg_columns = (
    leg.c.leg_id,
    leg.c.order_id,
    leg.c.sku,
    leg.c.quantity,
    order_line.c.title,
    order.c.merchant_id,
    order.c.merchant_slug,
)
_of_its_line = (order_line.c.order_id == leg.c.order_id) & (order_line.c.position == leg.c.line_position)
_tokens = (
    select(
        *_leg_columns,
        leg.c.state,
        leg.c.token,
        leg.c.recipient,
        order.c.created_at_ms,
        mint.c.minted_at_ms,
        mint.c.state.label("mint_state"),
    )
    .select_from(
        leg.join(order, order.c.order_id == leg.c.order_id)
        .join(order_line, _of_its_line)
        .join(mint, mint.c.leg_id == leg.c.leg_id)
    )
    .where(
        leg.c.token.is_not(None),
        leg.c.state != LegState.RETURNED.value,
        leg.c.leg_id > bindparam("after"),
    )
    .order_by(leg.c.leg_id)
    .limit(bindparam("most"))
)
_IN_ACCOUNT = Statement(
    _tokens.where(
        order.c.customer_id == bindparam("customer_id"),
        # Named where the customer had taken the account's key before.
        or_(leg.c.recipient.is_(None), leg.c.recipient == bindparam("account")),
    )
)
_IN_WALLET = Statement(
    _tokens.where(mint.c.recipient == bindparam("wallet"), leg.c.recipient == bindparam("wallet"))
)
# Copies of one token that a page before has listed.
_LISTED = Statement(
    select(leg.c.token, leg.c.quantity)
    .select_from(mint.join(leg, leg.c.leg_id == mint.c.leg_id))
    .where(
        mint.c.recipient == bindparam("wallet"),
        mint.c.token_id == bindparam("token_id"),
        or_(leg.c.recipient.is_(None), leg.c.recipient == bindparam("wallet")),
        leg.c.token.is_not(None),
        leg.c.state != LegState.RETURNED.value,
        leg.c.leg_id <= bindparam("after"),
    )
    .limit(10_000)
)
_LINKED_BY = Statement(
    select(linked_wallet.c.customer_id).where(
        linked_wallet.c.chain_id == bindparam("chain_id"),
        linked_wallet.c.address == bindparam("address"),
        linked_wallet.c.unlinked_at_ms.is_(None),
    )
)
_ENTITLEMENTS = Statement(
    select(*_leg_columns, entitlement.c.granted_at_ms)
    .select_from(
        entitlement.join(leg, leg.c.leg_id == entitlement.c.leg_id)
        .join(order, order.c.order_id == leg.c.order_id)
        .join(order_line, _of_its_line)
    )
    .where(
        entitlement.c.customer_id == bindparam("customer_id"),
        entitlement.c.state == "granted",
        entitlement.c.leg_id > bindparam("after"),
    )
    .order_by(entitlement.c.leg_id)
    .limit(bindparam("most"))
)
_OF_LEG = Statement(
    select(*_leg_columns, leg.c.token, mint.c.minted_at_ms, order.c.customer_id, order.c.created_at_ms)
    .select_from(
        leg.join(order, order.c.order_id == leg.c.order_id)
        .join(order_line, _of_its_line)
        .join(mint, mint.c.leg_id == leg.c.leg_id)
    )
    .where(leg.c.leg_id == bindparam("leg_id"))
)


Holding = tuple[int, str, str, int]
"""Chain id, contract, wallet and token id."""


class Held(Protocol):
    """How many of a token a wallet holds, and of when that is."""

    @property
    def amount(self) -> int: ...
    @property
    def at_ms(self) -> int: ...


class Holdings(Protocol):
    """Who asks the chain; `wallets.minting.holdings` does where tokens are minted."""

    async def held(self, asked: Iterable[Holding]) -> Mapping[Holding, Held]:
        """Return what the chain answers soon enough; the rest is missing."""
        ...


@dataclass(frozen=True, slots=True)
class OwnedItem:
    """One of a customer's items. ``wallet`` holds the token; ``is_outside``: only its holder can move it, so
    the chain knows better than we do whether it is still there."""

    leg_id: str
    merchant_id: str
    document: dict[str, Any]
    wallet: str | None = None
    is_outside: bool = False

    @property
    def holding(self) -> Holding:
        """Of a token: what to ask the chain about."""
        document = self.document
        return document["chain_id"], document["contract"], self.wallet or "", int(document["token_id"])


# --- What is owned ----------------------------------------------------------------------------------


def owned_items(
    reader: Reader, customer_id: str, item_key: str, *, after: str, limit: int
) -> list[OwnedItem]:
    """Return at most ``limit`` items, oldest first, from behind leg ``after``: tokens and entitlements that
    are there, or on their way back.

    A token in a wallet outside belongs to whoever has linked that wallet, whoever bought it.
    """
    asked = {"customer_id": customer_id, "after": after, "most": limit}
    account = account_of(reader, customer_id)
    items = []
    if account is not None:
        exported = is_exported(reader, customer_id)
        for row in reader.rows(_IN_ACCOUNT, {**asked, "account": account.address}):
            items.append(_token(item_key, row, account.address, is_outside=exported))
    for linked in linked_wallets(reader, customer_id):
        if account is None or linked.address != account.address:
            items += _in_wallet(reader, item_key, linked, after=after, limit=limit)
    for row in reader.rows(_ENTITLEMENTS, asked):
        document = {**_document("entitlement", item_key, row, row.granted_at_ms), "state": "owned"}
        items.append(OwnedItem(row.leg_id, row.merchant_id, document))
    items.sort(key=lambda item: item.leg_id)
    return items[:limit]


def _in_wallet(
    reader: Reader, item_key: str, linked: LinkedWallet, *, after: str, limit: int
) -> list[OwnedItem]:
    """Return the wallet's items on its chain: an installation may have minted on another one before."""
    items: list[OwnedItem] = []
    while len(items) < limit:
        rows = reader.rows(_IN_WALLET, {"wallet": linked.address, "after": after, "most": limit})
        its = [_token(item_key, row, linked.address, is_outside=True) for row in rows]
        items += [item for item in its if item.document["chain_id"] == linked.chain_id]
        if len(rows) < limit:
            break
        after = its[-1].leg_id
    return items


def listed_before(reader: Reader, items: Iterable[OwnedItem], after: str) -> dict[Holding, int]:
    """Return how many of the tokens of these items outside are of legs up to ``after``: a wallet's copies of
    an open edition are alike, and what it holds is shared out from the oldest on."""
    counted: dict[Holding, int] = {}
    for item in items:
        # A numbered copy is in one purchase only.
        if not item.is_outside or item.holding in counted or item.document["serial"] is not None:
            continue
        chain_id, contract, wallet, token_id = item.holding
        rows = reader.rows(_LISTED, {"wallet": wallet, "token_id": str(token_id), "after": after})
        same = (chain_id, contract)
        counted[item.holding] = sum(
            row.quantity for row in rows if _fields(row.token, "chain_id", "contract") == same
        )
    return counted


def _fields(token: str, *names: str) -> tuple[Any, ...]:
    document = decode(token)
    return tuple(document[name] for name in names)


def _token(item_key: str, row: Any, wallet: str, *, is_outside: bool) -> OwnedItem:
    token = decode(row.token)
    document = {
        **_document("token", item_key, row, row.minted_at_ms or row.created_at_ms),
        **{name: token[name] for name in _TOKEN_FIELDS},
        "state": _state(row),
    }
    return OwnedItem(row.leg_id, row.merchant_id, document, wallet, is_outside)


def _state(row: Any) -> str:
    if row.state in _RETURNING:
        return "returning"
    # Its block was lost, and it is being minted again.
    return "owned" if row.mint_state in _IN_A_BLOCK else "unsettled"


def _document(kind: str, item_key: str, row: Any, acquired_at_ms: int) -> dict[str, Any]:
    return {
        "item_id": item_id_of(item_key, row.leg_id),
        "kind": kind,
        "merchant": row.merchant_slug,
        "sku": row.sku,
        "title": row.title,
        "quantity": row.quantity,
        "acquired_at": to_the_second(acquired_at_ms),
    }


# --- What is told -----------------------------------------------------------------------------------


def granted(purchase: Purchase, leg: Leg, token: Mapping[str, Any] | None = None) -> None:
    """The player has the item now; ``token`` is what was minted, None for an entitlement."""
    # As the list has it: a mint is recorded in this very unit.
    acquired_ms = purchase.uow.now_ms

    def data(consent: PlayerConsent) -> dict[str, Any]:
        item = {
            "item_id": item_id_of(consent.item_key, leg.leg_id),
            "kind": "entitlement" if token is None else "token",
            "merchant": purchase.row.merchant_slug,
            "sku": leg.sku,
            "title": leg.title,
            "quantity": leg.quantity,
            "acquired_at": to_the_second(acquired_ms),
            "state": "owned",
        }
        if token is not None:
            item |= {name: token[name] for name in _TOKEN_FIELDS}
            if Scope.WALLETS in consent.scopes:
                item["wallet"] = _wallet(purchase, leg)
        return {"item": item}

    chain_id = None if token is None else token["chain_id"]
    _tell(purchase.uow, _owner(purchase, leg, chain_id), "item.granted", data)


def revoked(purchase: Purchase, leg: Leg, reason: str, *, chain_id: int | None = None) -> None:
    """The player does not have the item any more: ``returned``, ``revoked`` or ``lost``. A token names its
    chain."""
    _tell(
        purchase.uow,
        _owner(purchase, leg, chain_id),
        "item.revoked",
        lambda consent: {
            "item_id": item_id_of(consent.item_key, leg.leg_id),
            "sku": leg.sku,
            "merchant": purchase.row.merchant_slug,
            "reason": reason,
        },
    )


def moved(uow: UnitOfWork, leg_id: str, *, source: str, target: str) -> None:
    """A token that was minted for the leg is in another wallet of the same player: nothing to take back.

    Whoever has it leave the player altogether tells `revoked`. Only worlds that see wallets hear which.
    """
    row = uow.row(_OF_LEG, {"leg_id": leg_id})
    assert row is not None and row.token is not None, f"no token for {leg_id}"
    token = decode(row.token)

    def data(consent: PlayerConsent) -> dict[str, Any]:
        item = {
            **_document("token", consent.item_key, row, row.minted_at_ms or row.created_at_ms),
            **{name: token[name] for name in _TOKEN_FIELDS},
            "state": "owned",
        }
        if Scope.WALLETS not in consent.scopes:
            return {"item": item}
        return {"item": {**item, "wallet": target}, "from": source, "to": target}

    _tell(uow, row.customer_id, "item.moved", data)


def changed(uow: UnitOfWork, customer_id: str) -> None:
    """A wallet with whatever is in it came to the player or left them: worlds read the list again."""
    _tell(uow, customer_id, "items.changed", lambda consent: {})


def _tell(
    uow: UnitOfWork,
    customer_id: str | None,
    notice_type: str,
    data: Callable[[PlayerConsent], dict[str, Any]],
) -> None:
    """Write a notice for every world that may know. Nearly always there is none: it costs one look-up."""
    if customer_id is None:
        return
    for consent, is_sent in told_about(uow, customer_id):
        body = {"player_id": consent.player_id, **data(consent)}
        write_notice(uow, consent.world_id, consent.player_id, notice_type, body, sent=is_sent)


def _owner(purchase: Purchase, leg: Leg, chain_id: int | None) -> str | None:
    """Return whose item it is: the buyer's, or of a token in a wallet outside, that of who has linked it."""
    if leg.recipient is None:
        return purchase.customer_id
    account = account_of(purchase.uow, purchase.customer_id)
    if account is not None and account.address == leg.recipient:
        return purchase.customer_id
    row = purchase.uow.row(_LINKED_BY, {"chain_id": chain_id, "address": leg.recipient})
    return None if row is None else str(row.customer_id)


def _wallet(purchase: Purchase, leg: Leg) -> str | None:
    if leg.recipient is not None:
        return leg.recipient
    account = account_of(purchase.uow, purchase.customer_id)
    return None if account is None else account.address
