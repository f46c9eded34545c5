"""What a customer does with wallets of their own: link one, see them, unlink one.

The signature is checked outside of any unit, because a contract account answers through the chain.
"""

from __future__ import annotations

from typing import Any

from gateway.commands.context import Context
from gateway.identity.model import DevicePrincipal
from gateway.kernel.clock import rfc3339
from gateway.kernel.errors import ConflictError
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.orders import ownership
from gateway.orders.idempotency import earlier_result, keep_result, request_hash
from gateway.protocol.messages import WalletLink, WalletLinkBegin, WalletLinks, WalletUnlink
from wallets.custody.challenges import (
    Asker,
    LinkChallenge,
    LinkRules,
    begin_link,
    check_message,
    checked_address,
    finish_link,
    reserved_address,
    take_try,
)
from wallets.custody.linking import LinkedWallet, Proof, linked_wallets, unlink_wallet
from wallets.minting.own_contracts import is_own_contract


async def begin(context: Context, who: DevicePrincipal, command: WalletLinkBegin) -> dict[str, Any]:
    """Give a message to sign (``wallet.link.begin``)."""
    rules, body = _rules(context), command.body
    asker = Asker(who.customer_id, who.device_id)
    address = checked_address(rules, body.address)

    def ask(uow: UnitOfWork) -> LinkChallenge:
        _require_wallet(uow, rules.chain_id, address, "$.body.address")
        return begin_link(uow, rules, asker, address, body.chain_id)

    asked = await context.store.write(ask, locks=(f"account:{who.customer_id}",))
    return {"message": asked.message, "nonce": asked.nonce, "expires_at": rfc3339(asked.expires_at_ms)}


async def link(context: Context, who: DevicePrincipal, command: WalletLink) -> dict[str, Any]:
    """Link the wallet that signed (``wallet.link``)."""
    rules, body = _rules(context), command.body
    kept = ("wallet.link", command.key or "", request_hash(body))
    earlier = await context.store.read(lambda reader: earlier_result(reader, who.customer_id, *kept))
    if earlier is not None:
        return {"wallet": earlier, "replayed": True}
    asker = Asker(who.customer_id, who.device_id)
    message = check_message(rules, body.message, context.clock.now_ms())
    await context.store.write(lambda uow: take_try(uow, asker, message), locks=(f"nonce:{message.nonce}",))
    kind = await rules.prover.prove(message.address, message.text, body.signature)
    proof = Proof(message.text, body.signature, kind)

    def finish(uow: UnitOfWork) -> dict[str, Any]:
        found = earlier_result(uow, who.customer_id, *kept)
        if found is not None:
            return {"wallet": found, "replayed": True}
        _require_wallet(uow, message.chain_id, message.address, "$.body.message")
        wallet = link_document(finish_link(uow, asker, message, proof))
        ownership.changed(uow, who.customer_id)
        keep_result(uow, who.customer_id, *kept, wallet)
        return {"wallet": wallet, "replayed": False}

    locks = (
        f"key:{who.customer_id}:{command.key}",
        f"account:{who.customer_id}",
        f"wallet:{message.chain_id}:{message.address}",
    )
    return await context.store.write(finish, locks=locks)


async def list_links(context: Context, who: DevicePrincipal, _: WalletLinks) -> dict[str, Any]:
    """The wallets the customer has linked (``wallet.links``)."""
    wallets = await context.store.read(lambda reader: linked_wallets(reader, who.customer_id))
    return {"wallets": [link_document(wallet) for wallet in wallets]}


async def unlink(context: Context, who: DevicePrincipal, command: WalletUnlink) -> dict[str, Any]:
    """End a link (``wallet.unlink``)."""
    body, kept = command.body, ("wallet.unlink", command.key or "", request_hash(command.body))

    def end(uow: UnitOfWork) -> bool:
        if earlier_result(uow, who.customer_id, *kept) is not None:
            return True
        unlink_wallet(uow, who.customer_id, body.wallet_id)
        ownership.changed(uow, who.customer_id)
        keep_result(uow, who.customer_id, *kept, {"wallet_id": body.wallet_id})
        return False

    replayed = await context.store.write(end, locks=(f"key:{who.customer_id}:{command.key}",))
    return {"wallet_id": body.wallet_id, "replayed": replayed}


def link_document(wallet: LinkedWallet) -> dict[str, Any]:
    """What a customer sees of a linked wallet."""
    return {
        "wallet_id": wallet.wallet_id,
        "chain_id": wallet.chain_id,
        "address": wallet.address,
        "kind": wallet.kind.value,
        "linked_at": rfc3339(wallet.linked_at_ms),
    }


def _require_wallet(reader: Reader, chain_id: int, address: str, param: str) -> None:
    """A merchant's contract is no wallet, though it may sign: it mints, and gives nothing back."""
    if is_own_contract(reader, chain_id, address):
        raise reserved_address(param)


def _rules(context: Context) -> LinkRules:
    if context.linking is None:
        raise ConflictError("minting.off", "This gateway does not mint, so it links no wallets.")
    return context.linking
