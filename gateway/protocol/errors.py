"""The closed list of error codes a client may meet, over the socket and over HTTP (RFC 9457).

Each code has a class (what to do about it), an HTTP status and one sentence for the documents. Codes of
declines are in the event ``payment.declined``, not here: a declined payment is an outcome, not an error.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.kernel.errors import ErrorClass


class ErrorCode(NamedTuple):
    """How a code is treated."""

    error_class: ErrorClass
    http_status: int
    meaning: str


_RETRY, _FIX, _FATAL = ErrorClass.RETRY, ErrorClass.FIX, ErrorClass.FATAL
_SCA = ErrorClass.SCA

ERROR_CODES: dict[str, ErrorCode] = {
    # The message itself
    "message.malformed": ErrorCode(_FIX, 400, "The message is not a JSON object in UTF-8."),
    "message.invalid": ErrorCode(
        _FIX, 400, "A field is missing, of the wrong type or out of range; see param."
    ),
    "message.too_deep": ErrorCode(_FIX, 400, "The message is nested deeper than the limit."),
    "message.too_large": ErrorCode(_FIX, 413, "The message is larger than the limit in hello."),
    "command.unknown": ErrorCode(_FIX, 404, "There is no command of this type."),
    "command.too_many_in_flight": ErrorCode(_RETRY, 429, "Wait for replies before sending more commands."),
    "command.rate_limited": ErrorCode(_RETRY, 429, "More commands per second than the limit in hello."),
    "price.client_sent": ErrorCode(_FIX, 400, "Prices come from the quote; a client never sends one."),
    # Idempotency
    "idempotency.key_required": ErrorCode(_FIX, 400, "A command that changes something needs a key."),
    "idempotency.conflict": ErrorCode(_FIX, 422, "The key was used with another body."),
    # Who is asking
    "auth.required": ErrorCode(_FATAL, 401, "Sign in first."),
    "auth.invalid_token": ErrorCode(_FATAL, 401, "The token is unknown, malformed or revoked."),
    "auth.expired_token": ErrorCode(_FATAL, 401, "The token has expired; get a new one."),
    "auth.too_many_connections": ErrorCode(_RETRY, 429, "The account has as many connections as it may."),
    "auth.forbidden": ErrorCode(_FATAL, 403, "The caller may not do this."),
    # Catalog
    "merchant.not_found": ErrorCode(_FIX, 404, "There is no such merchant."),
    "product.not_found": ErrorCode(_FIX, 404, "There is no such product."),
    "sku.not_found": ErrorCode(_FIX, 404, "There is no such article on sale."),
    "place.not_found": ErrorCode(_FIX, 404, "There is no such place."),
    "location.not_found": ErrorCode(_FIX, 404, "There is no such location."),
    "asset.not_found": ErrorCode(_FIX, 404, "There is no such asset."),
    "format.not_offered": ErrorCode(_FIX, 409, "The article is not sold in this format."),
    "price.not_offered": ErrorCode(_FIX, 409, "The article has no price in this currency."),
    "currency.unknown": ErrorCode(_FIX, 400, "Not an ISO 4217 currency code."),
    "currency.mismatch": ErrorCode(_FIX, 400, "Amounts of two currencies were combined."),
    "money.malformed": ErrorCode(_FIX, 400, "Not an amount in this currency."),
    "catalog.invalid": ErrorCode(_FIX, 422, "The product files have errors; all of them are listed."),
    **{
        f"model.{reason}": ErrorCode(_FIX, 422, meaning)
        for reason, meaning in {
            "empty": "The file is empty.",
            "not_glb": "The file is not a binary glTF (GLB).",
            "version": "The file is not glTF 2.0.",
            "truncated": "The file ends before its declared length.",
            "json_invalid": "The scene description is not valid JSON.",
            "json_too_large": "The scene description is too large.",
            "json_depth": "The scene description is nested too deep.",
            "schema": "The scene description breaks the glTF schema.",
            "bounds": "A view or accessor reaches outside of its data.",
            "accessor_without_data": "An accessor claims data that the file does not hold.",
            "index_out_of_range": "A reference or vertex index points at nothing.",
            "nonfinite": "A position is not a finite number.",
            "external_uri": "The file refers to other files or addresses.",
            "image_format": "A texture is neither PNG nor JPEG, or is broken.",
            "node_graph": "The node graph has a cycle or is too deep.",
            "extension_required": "The file needs an extension that clients may not have.",
            "too_complex": "More triangles, nodes or pixels than the limit.",
            "too_large": "The file is larger than the limit.",
            "unreadable": "The model could not be measured.",
            "units_suspect": "The size is implausible; are the units metres?",
        }.items()
    },
    "picture.invalid": ErrorCode(_FIX, 422, "The picture is no PNG, or too large."),
    "model.extra_missing": ErrorCode(_FATAL, 409, "Measuring models needs the extra vitrine[models]."),
    "model.worker_killed": ErrorCode(_FIX, 422, "Measuring the model took too much time or memory."),
    "tax.rate_unknown": ErrorCode(_FIX, 409, "No tax rate is known for this country and category."),
    # Quote and stock
    "quote.not_found": ErrorCode(_FIX, 404, "There is no such quote of this customer."),
    "quote.expired": ErrorCode(_FIX, 409, "The quote has expired and its holds are gone; ask for a new one."),
    "quote.ordered": ErrorCode(_FIX, 409, "The quote was ordered already, with another key."),
    "quote.too_many_items": ErrorCode(_FIX, 400, "More items than one order can have."),
    "stock.sold_out": ErrorCode(_FIX, 409, "Not enough in stock; data says what is available."),
    "edition.sold_out": ErrorCode(_FIX, 409, "Not enough copies of the edition are left."),
    "hold.limit_account": ErrorCode(_FIX, 409, "The account holds as much as one account may."),
    "hold.limit_device": ErrorCode(_FIX, 409, "The device holds as much as one device may."),
    "shipping.not_offered": ErrorCode(_FIX, 409, "The merchant does not ship there in this currency."),
    "ship_to.required": ErrorCode(_FIX, 400, "The order ships goods and needs an address."),
    "ship_to.country_mismatch": ErrorCode(_FIX, 409, "The address is in another country than the quote."),
    "consent.missing": ErrorCode(_FIX, 409, "The law asks for a consent before this can be delivered."),
    "wallet.not_linked": ErrorCode(_FIX, 409, "The customer has linked no such wallet on this chain."),
    "wallet.nothing_to_mint": ErrorCode(_FIX, 400, "A wallet was named, but nothing of the order is minted."),
    # Customers' own wallets
    "wallet.link_message": ErrorCode(
        _FIX, 400, "Not a message of EIP-4361, or not the one that was given to sign."
    ),
    "wallet.link_version": ErrorCode(_FIX, 400, "The message is not of version 1."),
    "wallet.link_domain": ErrorCode(_FIX, 400, "The message is for another domain."),
    "wallet.link_uri": ErrorCode(_FIX, 400, "The message is for another URI."),
    "wallet.link_chain": ErrorCode(_FIX, 400, "Wallets are linked on another chain; data has its id."),
    "wallet.link_address": ErrorCode(
        _FIX, 400, "The checksum of the address (EIP-55) is wrong, or the message was for another one."
    ),
    "wallet.link_reserved": ErrorCode(_FIX, 409, "The address is no customer's own wallet."),
    "wallet.link_nonce": ErrorCode(
        _FIX, 409, "The nonce was not given to this device, was used, or was tried too often."
    ),
    "wallet.link_expired": ErrorCode(_FIX, 409, "The message has expired; ask for another one."),
    "wallet.link_not_yet": ErrorCode(_FIX, 400, "The message is of a time to come."),
    "wallet.link_signature": ErrorCode(
        _FIX, 400, "The signature is not by the wallet at this address over this message."
    ),
    "wallet.link_too_many": ErrorCode(_RETRY, 429, "Too many messages were asked for at once."),
    "wallet.linked_elsewhere": ErrorCode(_FIX, 409, "Another account has linked this address."),
    "wallet.too_many": ErrorCode(_FIX, 409, "The customer has linked as many wallets as one may."),
    "wallet.not_found": ErrorCode(_FIX, 404, "There is no such linked wallet of this customer."),
    "wallet.chain_unavailable": ErrorCode(_RETRY, 503, "The chain does not answer; nothing was linked."),
    "wallet.export_unavailable": ErrorCode(
        _FIX, 409, "Keys are given on a passkey's word, and there is none here; or they are kept elsewhere."
    ),
    "wallet.export_recipient": ErrorCode(
        _FIX, 400, "The public key must be EC on P-256 or OKP on X25519, as JWK."
    ),
    "wallet.export_unknown": ErrorCode(_FIX, 404, "This device has asked for no such export."),
    "wallet.export_decided": ErrorCode(_FIX, 409, "The key was given on this export, or its time is over."),
    "wallet.export_waits": ErrorCode(
        _FIX, 409, "A token of the account is on its way, and not paid for or to be given back; ask later."
    ),
    "wallet.export_too_many": ErrorCode(_RETRY, 429, "Too many exports were asked for at once."),
    # Orders and payment
    "order.not_found": ErrorCode(_FIX, 404, "There is no such order of this customer or merchant."),
    "order.not_cancelable": ErrorCode(_FIX, 409, "Nothing of the order can be canceled any more; return it."),
    "order.not_payable": ErrorCode(_FIX, 409, "The order does not wait for another payment method."),
    "order.too_many_unpaid": ErrorCode(_FIX, 409, "Too many orders wait for their payment; pay or cancel."),
    "order.not_refundable": ErrorCode(_FIX, 409, "Nothing of the order has been captured and not refunded."),
    "payment.not_offered": ErrorCode(_FIX, 409, "The merchant does not offer this for this order."),
    "pay_link.not_found": ErrorCode(_FIX, 404, "There is no such pay link."),
    "pay_link.not_offered": ErrorCode(_FIX, 409, "This merchant offers no pay links."),
    "pay_link.closed": ErrorCode(_FIX, 409, "The link is paid, revoked or expired; data has its state."),
    "pay_link.amount_changed": ErrorCode(_FIX, 409, "The order owes another amount than the link is for."),
    "pay_link.too_many": ErrorCode(_FIX, 409, "As many links to the order are open as there may be."),
    "pay_link.too_many_attempts": ErrorCode(_FIX, 429, "The link was tried too often; ask for another one."),
    "leg.not_undelivered": ErrorCode(_FIX, 409, "The leg waits for no other wallet; data has its state."),
    "order.return_needs_holder": ErrorCode(
        _FIX, 409, "The token is in a wallet outside: only its holder can give it back."
    ),
    "leg.not_found": ErrorCode(_FIX, 404, "The order has no such leg."),
    "refund.not_found": ErrorCode(_FIX, 404, "There is no such refund of this merchant."),
    "refund.amount": ErrorCode(_FIX, 400, "The amount is missing or not above zero."),
    "refund.exceeds": ErrorCode(_FIX, 409, "More than can be refunded; data has refundable_minor."),
    "refund.not_offered": ErrorCode(_FIX, 409, "The merchant sends no money this way in this currency."),
    "refund.above_cap": ErrorCode(_FIX, 409, "More than may be sent this way; data has the cap."),
    "refund.target_too_new": ErrorCode(_FIX, 409, "The method was stored too recently; data has ready_at."),
    "refund.same_person": ErrorCode(_FATAL, 403, "Who asked for it cannot approve it."),
    "refund.decided": ErrorCode(_FIX, 409, "The request was decided already, or its time is over."),
    "payout.too_many": ErrorCode(_FIX, 409, "The customer was sent money as often as a day allows."),
    "payout.above_daily_cap": ErrorCode(_FIX, 409, "The customer would be sent more than a day allows."),
    "collection.none_due": ErrorCode(_FIX, 409, "Nothing is to be collected for this order now."),
    "collection.several_due": ErrorCode(_FIX, 409, "Several collections wait; data has operation_ids."),
    "collection.decided": ErrorCode(_FIX, 409, "Staff have said something else about it before."),
    "payment_method.not_found": ErrorCode(_FIX, 404, "There is no such payment method of this customer."),
    "card.invalid": ErrorCode(_FIX, 400, "The card data are malformed, incomplete or expired; see param."),
    "card.declined": ErrorCode(_FIX, 402, "The provider does not accept the card."),
    "vault.live_card_refused": ErrorCode(
        _FATAL, 400, "The embedded vault takes test cards only; nothing was stored."
    ),
    "minting.off": ErrorCode(
        _FATAL, 409, "This gateway does not mint; the digital item cannot be sold here."
    ),
    "card.sealed_invalid": ErrorCode(
        _FIX, 400, "The encrypted card was not made for this vault, customer and time."
    ),
    "card.sealed_replayed": ErrorCode(_FIX, 409, "This encrypted card was used before; encrypt it again."),
    "card_entry.hosted": ErrorCode(
        _FIX, 409, "Cards are entered on the vault's page (data has its address), or sent encrypted."
    ),
    "card_session.return_url": ErrorCode(_FIX, 400, "Not an address that a page may link to."),
    # Allowances
    "allowance.unknown": ErrorCode(_FIX, 404, "There is no such allowance of this customer or guardian."),
    "allowance.revoked": ErrorCode(_FIX, 409, "The allowance was revoked."),
    "allowance.expired": ErrorCode(_FIX, 409, "The allowance has expired."),
    "allowance.terms_conflict": ErrorCode(_FIX, 409, "The allowance was granted with other terms."),
    "allowance.approval_conflict": ErrorCode(_FIX, 409, "The approval was given for another purchase."),
    "guardian.not_found": ErrorCode(_FIX, 404, "There is no such request to this guardian."),
    "guardian.decided": ErrorCode(
        _FIX, 409, "The request was decided, or its time is over; data has its state."
    ),
    "device_proof.invalid": ErrorCode(
        _FIX, 400, "The proof of the device's key is not valid for this payment."
    ),
    "vault.method_unknown": ErrorCode(_FIX, 404, "There is no such payment method of this customer."),
    "vault.amount_invalid": ErrorCode(_FIX, 400, "The amount must be positive and below 2^53."),
    # Other ways to pay
    "vault.method_kind": ErrorCode(_FIX, 400, "No provider here takes this kind of payment method."),
    "method.invalid": ErrorCode(_FIX, 400, "The payment method's data are not valid; see param."),
    "method.card_number_refused": ErrorCode(
        _FIX, 400, "A card number came where a terminal's token belongs; nothing was stored."
    ),
    "method.payload_refused": ErrorCode(
        _FIX, 400, "A wallet's payment is not signed as it must be; data has the check that failed."
    ),
    "method.payload_replayed": ErrorCode(_FIX, 409, "This wallet payment was handed in before."),
    "method.voucher_unknown": ErrorCode(_FIX, 400, "There is no such voucher."),
    "method.voucher_expired": ErrorCode(_FIX, 409, "The voucher has expired."),
    "voucher.amount": ErrorCode(_FIX, 400, "A voucher is issued for an amount above zero."),
    "cash.unknown": ErrorCode(_FIX, 404, "Nothing waits to be collected under this operation."),
    "cash.currency": ErrorCode(_FIX, 400, "The cash is in another currency than what is owed."),
    "cash.not_enough": ErrorCode(_FIX, 409, "Less was handed over than is owed; data has owed_minor."),
    "cash.decided": ErrorCode(_FIX, 409, "This collection was confirmed or declined already."),
    "webhook.unknown_provider": ErrorCode(_FIX, 404, "No provider of this name sends webhooks here."),
    "webhook.not_authentic": ErrorCode(_FIX, 403, "The signature of the event is not valid."),
    "webhook.unreadable": ErrorCode(_FIX, 400, "The body is no event of this provider."),
    # Customers and merchants
    "customer.not_found": ErrorCode(_FIX, 404, "There is no such customer of this merchant."),
    "merchant.exists": ErrorCode(_FIX, 409, "A merchant with this name exists."),
    "challenge.unknown": ErrorCode(_FIX, 404, "There is no such challenge."),
    "challenge.decided": ErrorCode(_FIX, 409, "The action was decided, or its time is over."),
    "challenge.voided": ErrorCode(
        _SCA, 409, "Amount, currency or payee changed after the customer was asked; a new action follows."
    ),
    "challenge.too_many_codes": ErrorCode(_RETRY, 429, "Too many wrong codes from this address."),
    "passkey.refused": ErrorCode(
        _SCA, 403, "The assertion or registration is not valid for this payment and customer."
    ),
    "passkey.revoked": ErrorCode(_SCA, 403, "The passkey seems to exist twice and was removed."),
    "passkey.unavailable": ErrorCode(_FIX, 409, "Passkeys cannot be used here or for this payment."),
    "passkey.sca_required": ErrorCode(
        _SCA, 403, "A passkey is added after the customer was authenticated for a payment."
    ),
    "passkey.too_many": ErrorCode(_FIX, 409, "The customer has as many passkeys as one may have."),
    "passkey.not_found": ErrorCode(_FIX, 404, "There is no such passkey of this customer."),
    "page.limit": ErrorCode(_FIX, 400, "A page has 1 to 100 entries."),
    "token.not_found": ErrorCode(_FIX, 404, "There is no such digital item."),
    "document.not_found": ErrorCode(_FIX, 404, "There is no such document of a digital item."),
    # Worlds
    "world.not_found": ErrorCode(_FIX, 404, "There is no such world."),
    "world.not_allowed": ErrorCode(_FIX, 404, "The player has not allowed this world anything."),
    "world.other": ErrorCode(_FATAL, 403, "A token for use in one world speaks for that world alone."),
    "world.name": ErrorCode(_FIX, 400, "Not a name that a world can have."),
    "world.too_many": ErrorCode(_FIX, 409, "The player allows as many worlds as one may; revoke one."),
    "world.exists": ErrorCode(_FIX, 409, "There is or was a world of this name."),
    "player.not_found": ErrorCode(_FIX, 404, "There is no such player of this world, or no consent."),
    "notice.not_found": ErrorCode(_FIX, 404, "There is no such notice of this world that has ended."),
    "webhook.address": ErrorCode(_FIX, 400, "Not an address that notices may be sent to."),
    "webhook.key_unreadable": ErrorCode(_RETRY, 503, "The keys that sign notices cannot be read."),
    # Changing the catalog
    "stock.below_promised": ErrorCode(_FIX, 409, "Quotes and orders need more than this."),
    "edition.cap_below_issued": ErrorCode(_FIX, 409, "More copies are promised or out than the new cap."),
    "edition.numbering_fixed": ErrorCode(_FIX, 409, "Copies are out; numbering cannot change any more."),
    "mint.cap_fixed": ErrorCode(_FIX, 409, "The cap of a minted edition is for ever."),
    "mint.invalid": ErrorCode(_FIX, 400, "Outside of what the contract can hold."),
    # Our side
    "custody.busy": ErrorCode(_RETRY, 503, "Too many accounts are being made at once."),
    "fulfillment.unavailable": ErrorCode(_RETRY, 503, "The order backend does not answer."),
    "vault.unavailable": ErrorCode(_RETRY, 503, "The vault does not answer; the same may be asked again."),
    "vault.busy": ErrorCode(_RETRY, 503, "The vault is busy with this operation."),
    "vault.provider_unavailable": ErrorCode(_RETRY, 503, "The payment provider does not answer."),
    "store.unavailable": ErrorCode(_RETRY, 503, "The change was not confirmed; send it again with its key."),
    "store.read_too_long": ErrorCode(_RETRY, 503, "The query took too long; ask for less."),
    "store.closed": ErrorCode(_RETRY, 503, "The gateway is closing; reconnect."),
    "internal": ErrorCode(_RETRY, 500, "Something failed on our side; the same key may be sent again."),
}
