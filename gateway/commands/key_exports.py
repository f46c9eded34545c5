"""A customer takes the key of their custodial account, approving it with a passkey.

Not on the socket: what goes over a session may be written down on its way. There is no idempotency either,
because a reply that is kept would be the key that is kept; who has lost the reply asks for another export.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.commands.context import Context
from gateway.identity import passkeys
from gateway.identity.model import DevicePrincipal
from gateway.identity.passkeys import CLONE_SUSPECTED, RelyingParty
from gateway.kernel.clock import rfc3339
from gateway.kernel.errors import ConflictError, ErrorClass, VitrineError
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.orders.leaving import refuse_to_give_key
from wallets.custody.accounts import lock_account
from wallets.custody.exporting import (
    KeyExport,
    KeyExports,
    begin_export,
    finish_export,
    open_export,
    read_recipient,
)


async def begin(context: Context, who: DevicePrincipal, recipient: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a passkey has to approve. ``recipient`` is a public key of the client's (JWK).

    Raises ConflictError ``wallet.export_unavailable`` where there is no passkey to ask for,
    ``wallet.export_waits`` while a token is on its way that is not paid for.
    """
    exports, party = _available(context)
    public = read_recipient(recipient)
    address = await exports.address(who.customer_id)

    def ask(uow: UnitOfWork) -> tuple[KeyExport, list[Any]]:
        known = passkeys.passkeys_of(uow, who.customer_id)
        if not known:
            raise _unavailable("The customer has no passkey.")
        refuse_to_give_key(uow, who.customer_id)
        return begin_export(uow, who.customer_id, who.device_id, address, public), known

    export, known = await context.store.write(ask, locks=(f"account:{who.customer_id}",))
    return {
        "export_id": export.export_id,
        "address": export.address,
        "expires_at": rfc3339(export.expires_at_ms),
        "passkey": passkeys.assertion_options(party, export.challenge, known),
    }


async def finish(
    context: Context, who: DevicePrincipal, export_id: str, credential: Mapping[str, Any]
) -> dict[str, Any]:
    """Give the key to whoever holds the recipient's private key, on the word of one of the passkeys.

    Raises VitrineError ``passkey.refused``, ``passkey.revoked``, ``wallet.export_unknown``,
    ``wallet.export_decided``, ``wallet.export_unavailable``, ``wallet.export_waits``.
    """
    exports, party = _available(context)

    def look(reader: Reader) -> tuple[KeyExport, Any]:
        export = open_export(reader, who.customer_id, who.device_id, export_id)
        return export, passkeys.asserting_passkey(reader, who.customer_id, credential)

    export, row = await context.store.read(look)
    assertion = passkeys.check_assertion(party, row, credential, export.challenge)
    # Made before it is recorded that it is given, and given after: it is never on record without reason.
    sealed = await exports.sealed(export)

    def give(uow: UnitOfWork) -> bool:
        open_export(uow, who.customer_id, who.device_id, export_id)
        # Before the look: whoever queues a mint holds the account until that can be seen.
        lock_account(uow, who.customer_id)
        refuse_to_give_key(uow, who.customer_id)
        if assertion.clone_suspected:
            passkeys.revoke_passkey(uow, who.customer_id, assertion.passkey_id, CLONE_SUSPECTED)
            return False
        if not passkeys.count_assertion(uow, assertion):
            raise VitrineError("passkey.refused", "The passkey was not accepted.", error_class=ErrorClass.SCA)
        finish_export(uow, export, assertion.passkey_id)
        return True

    if not await context.store.write(give, locks=(f"account:{who.customer_id}",)):
        raise VitrineError(
            "passkey.revoked",
            "The passkey seems to exist twice and was removed.",
            error_class=ErrorClass.SCA,
        )
    return {"export_id": export.export_id, "address": export.address, "key": sealed}


def _available(context: Context) -> tuple[KeyExports, RelyingParty]:
    if context.key_exports is None:
        raise _unavailable("No keys are held here.")
    if context.passkeys is None:
        raise _unavailable("This gateway asks for no passkeys.")
    return context.key_exports, context.passkeys


def _unavailable(why: str) -> ConflictError:
    return ConflictError("wallet.export_unavailable", f"The key cannot be given: {why}")
