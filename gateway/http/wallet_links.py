"""Customers' own wallets over HTTP, the socket's twins, and the key of their account, which has no twin."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from gateway.commands import key_exports
from gateway.commands import wallets as commands
from gateway.http.callers import AsDevice, InContext, Key
from gateway.protocol.messages import (
    Name,
    WalletLink,
    WalletLinkBegin,
    WalletLinkBeginBody,
    WalletLinkBody,
    WalletLinks,
    WalletUnlink,
    WalletUnlinkBody,
    Wire,
)

router = APIRouter(prefix="/v1/wallet", tags=["customer"])
_ID = "http"


class KeyExportBody(Wire):
    """``recipient`` is a public key that the client made for this (JWK): EC on P-256 or OKP on X25519."""

    recipient: dict[str, Any]


class KeyExportApproval(Wire):
    """``credential`` is the assertion, as WebAuthn's ``AuthenticationResponseJSON``."""

    credential: dict[str, Any]


def _keep_nowhere(response: Response) -> None:
    response.headers["Cache-Control"] = "no-store"
    response.headers["Pragma"] = "no-cache"


@router.post("/links/begin")
async def begin_link(context: InContext, who: AsDevice, response: Response, body: WalletLinkBeginBody) -> Any:
    """A message for the wallet to sign (``wallet.link.begin``)."""
    _keep_nowhere(response)
    return await commands.begin(context, who, WalletLinkBegin(id=_ID, type="wallet.link.begin", body=body))


@router.post("/links")
async def link(context: InContext, who: AsDevice, key: Key, body: WalletLinkBody) -> Any:
    """Link the wallet that has signed (``wallet.link``)."""
    return await commands.link(context, who, WalletLink(id=_ID, type="wallet.link", key=key, body=body))


@router.get("/links")
async def list_links(context: InContext, who: AsDevice) -> Any:
    """The wallets that the customer has linked (``wallet.links``)."""
    return await commands.list_links(context, who, WalletLinks(id=_ID, type="wallet.links"))


@router.delete("/links/{wallet_id}")
async def unlink(context: InContext, who: AsDevice, key: Key, wallet_id: Name) -> Any:
    """End a link (``wallet.unlink``)."""
    body = WalletUnlinkBody(wallet_id=wallet_id)
    command = WalletUnlink(id=_ID, type="wallet.unlink", key=key, body=body)
    return await commands.unlink(context, who, command)


@router.post("/key-exports")
async def begin_export(context: InContext, who: AsDevice, response: Response, body: KeyExportBody) -> Any:
    """Ask for the private key of the customer's account; a passkey approves it."""
    _keep_nowhere(response)
    return await key_exports.begin(context, who, body.recipient)


@router.post("/key-exports/{export_id}")
async def finish_export(
    context: InContext, who: AsDevice, response: Response, export_id: Name, body: KeyExportApproval
) -> Any:
    """The private key, encrypted to the client's public key: once, and kept nowhere."""
    _keep_nowhere(response)
    return await key_exports.finish(context, who, export_id, body.credential)
