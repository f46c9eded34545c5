"""Who may ask a vault process for what: bearer credentials, each with one role.

A credential is 256 random bits, shown once when it is issued; the database holds its SHA-256 digest, which
needs no salt or stretching because nobody can guess the preimage. No role can have a card number told: the
vault has no call that answers with one.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import bindparam, select, update

from gateway.kernel.errors import ConflictError, InvalidError
from gateway.kernel.ids import Id
from gateway.kernel.store.statements import Statement, insert_new
from gateway.kernel.store.unit import Reader, UnitOfWork
from wallets.vault.tables import credential

PREFIX = "vvc_"
_SECRET_BYTES = 32
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_MOST_LISTED = 1_000


class Role(StrEnum):
    GATEWAY = "gateway"
    """Spends, captures and refunds for its orders, and has cards entered."""
    OPERATOR = "operator"
    """Rotates keys and revokes; spends nothing."""
    AUDITOR = "auditor"
    """Reads the audit records; changes nothing."""
    AGENT = "agent"
    """Hands in cards for delegated tokens (ACP); spends nothing itself."""


class CredentialId(Id):
    prefix = "vcr"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose credential it is."""

    credential_id: str
    role: Role
    name: str
    """Of the gateway or person, as given when it was issued."""
    created_at_ms: int = 0
    revoked_at_ms: int | None = None


_INSERT = insert_new(credential)
_GET = Statement(select(credential).where(credential.c.secret_digest == bindparam("secret_digest")))
_REVOKE = Statement(
    update(credential)
    .where(credential.c.credential_id == bindparam("credential_id_"), credential.c.revoked_at_ms.is_(None))
    .values(revoked_at_ms=bindparam("revoked_at_ms"))
)
_LIST = Statement(select(credential).order_by(credential.c.credential_id).limit(_MOST_LISTED))


def new_secret() -> str:
    """Return a fresh credential."""
    return PREFIX + secrets.token_urlsafe(_SECRET_BYTES)


def digest(secret: str) -> bytes:
    """Return what is stored of a credential."""
    return hashlib.sha256(secret.encode()).digest()


def issue(uow: UnitOfWork, secret_digest: bytes, role: Role, name: str) -> Caller:
    """Store a credential. Raises InvalidError ``credential.name``, ConflictError ``credential.name_taken``.

    A name is who acted, on the audit trail and for repeated requests: two at a time must not share it.
    """
    if _NAME.fullmatch(name) is None:
        raise InvalidError(
            "credential.name", "A name has 1 to 64 characters: a-z, 0-9, dot, underscore, hyphen."
        )
    made = Caller(uow.new_id(CredentialId), role, name, uow.now_ms)
    # The index decides, so that of two that are issued at one moment one is refused.
    is_new = uow.run(
        _INSERT,
        {
            "credential_id": made.credential_id,
            "secret_digest": secret_digest,
            "role": role.value,
            "name": name,
            "created_at_ms": uow.now_ms,
            "revoked_at_ms": None,
        },
    )
    if not is_new:
        raise ConflictError("credential.name_taken", "A credential of this name is in use; revoke it first.")
    return made


def revoke(uow: UnitOfWork, credential_id: str) -> bool:
    """Revoke a credential; False if there is none, or it was revoked before."""
    return uow.run(_REVOKE, {"credential_id_": credential_id, "revoked_at_ms": uow.now_ms}) == 1


def caller_of(reader: Reader, secret_digest: bytes) -> Caller | None:
    """Return whose credential it is, if it is known and not revoked."""
    row = reader.row(_GET, {"secret_digest": secret_digest})
    return None if row is None or row.revoked_at_ms is not None else _caller(row)


def listed(reader: Reader) -> list[Caller]:
    """Return all credentials, oldest first (at most 1000), those that were revoked too."""
    return [_caller(row) for row in reader.rows(_LIST)]


def _caller(row: Any) -> Caller:
    return Caller(row.credential_id, Role(row.role), row.name, row.created_at_ms, row.revoked_at_ms)
