"""Device tokens and API keys: issued once in the clear, looked up by their digest."""

from __future__ import annotations

from sqlalchemy import bindparam, select

from gateway.identity.model import DevicePrincipal, MerchantPrincipal, digest
from gateway.identity.tables import api_key, device, device_token
from gateway.kernel.errors import ForbiddenError
from gateway.kernel.store.statements import Statement, insert_into
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.kernel.subjects import DeviceId

_INSERT_DEVICE = insert_into(device)
_INSERT_TOKEN = insert_into(device_token)
_INSERT_KEY = insert_into(api_key)
_TOKEN = Statement(select(device_token).where(device_token.c.token_digest == bindparam("digest")))
_KEY = Statement(select(api_key).where(api_key.c.key_digest == bindparam("digest")))


def issue_device_token(
    uow: UnitOfWork,
    *,
    token_digest: str,
    customer_id: str,
    kind: str,
    name: str,
    issued_by: str,
    lifetime_ms: int,
    world_id: str | None = None,
    session_id: str | None = None,
) -> DevicePrincipal:
    """Store a token's digest for a new device of the customer. The caller shows the token once."""
    device_id = uow.new_id(DeviceId)
    expires_at_ms = uow.now_ms + lifetime_ms
    uow.run(
        _INSERT_DEVICE,
        {
            "device_id": device_id,
            "customer_id": customer_id,
            "kind": kind,
            "name": name,
            "created_at_ms": uow.now_ms,
        },
    )
    uow.run(
        _INSERT_TOKEN,
        {
            "token_digest": token_digest,
            "device_id": device_id,
            "customer_id": customer_id,
            "issued_by": issued_by,
            "created_at_ms": uow.now_ms,
            "expires_at_ms": expires_at_ms,
            "revoked_at_ms": None,
            "world_id": world_id,
            "session_id": session_id,
        },
    )
    return DevicePrincipal(customer_id, device_id, expires_at_ms, world_id, session_id)


def authenticate_device(reader: Reader, token: str) -> DevicePrincipal:
    """Return whose device this token is; ``auth.invalid_token`` or ``auth.expired_token`` otherwise."""
    row = reader.row(_TOKEN, {"digest": digest(token)})
    if row is None or row.revoked_at_ms is not None:
        raise ForbiddenError("auth.invalid_token", "The token is not valid.")
    if row.expires_at_ms <= reader.now_ms:
        raise ForbiddenError("auth.expired_token", "The token has expired.")
    return DevicePrincipal(row.customer_id, row.device_id, row.expires_at_ms, row.world_id, row.session_id)


def store_api_key(uow: UnitOfWork, *, key_digest: str, merchant_id: str, name: str) -> None:
    """Store an API key's digest. The caller shows the key once."""
    uow.run(
        _INSERT_KEY,
        {
            "key_digest": key_digest,
            "merchant_id": merchant_id,
            "name": name,
            "created_at_ms": uow.now_ms,
            "revoked_at_ms": None,
        },
    )


def authenticate_merchant(reader: Reader, key: str) -> MerchantPrincipal:
    """Return whose API key this is; ``auth.invalid_token`` otherwise."""
    row = reader.row(_KEY, {"digest": digest(key)})
    if row is None or row.revoked_at_ms is not None:
        raise ForbiddenError("auth.invalid_token", "The API key is not valid.")
    return MerchantPrincipal(row.merchant_id)
