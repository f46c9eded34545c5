"""The audit trail: who did what to which cardholder data, when, from where, with what outcome.

One row for each access (PCI DSS 4.0.1, 10.2.1 and 10.2.2), written in the unit that allows it, so there is
no access without its row. Rows are only ever added; `audit_sealing` links them into a chain in the
background, which keeps hashing out of a purchase. A row never holds a card number, code, key or name.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import bindparam, insert

from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import UnitOfWork
from wallets.vault.tables import audit

SIGNAL = "vault.audit"
OK = "ok"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts. Edges set it for what they let in (`acting_as`)."""

    role: str
    """``gateway``, ``worker``, ``custodian``, ``auditor`` ..."""
    actor_id: str
    """The credential's name, or the account of the operating system."""
    origin: str
    """An address, or ``process`` inside one."""


class Action(StrEnum):
    """What is recorded. Each names the object in `object_id`."""

    METHOD_STORE = "method.store"
    """A card was tokenized; the method. Outcome ``ok`` (new), ``known``, ``renewed`` or why not."""
    METHOD_USE = "method.use"
    """A record was opened for a provider; the method, detail: the operation."""
    METHOD_REMOVE = "method.remove"
    METHOD_READ = "method.read"
    """A record was opened for upkeep (fingerprints are computed anew); the method."""
    ALLOWANCE_GRANT = "allowance.grant"
    """Terms were made by themselves, before anything was spent; the allowance, detail: its method."""
    ALLOWANCE_REVOKE = "allowance.revoke"
    APPROVAL = "approval.decide"
    """A guardian's word was taken; the approval, detail: its allowance. Outcome: what it is now."""
    OPERATION_SETTLE = "operation.settle"
    """A caller settled an unknown operation by the provider's settlement file; the operation."""
    ACCESS = "access"
    """A caller was refused at the door; the resource asked for."""
    CREDENTIAL = "credential.change"
    KEY_REGISTER = "key.register"
    CARD_KEY = "key.card_key"
    """A key pair for encrypting cards was made; the key."""
    KEY_RETIRE = "key.retire"
    KEY_DESTROY = "key.destroy"
    ROTATION_STEP = "rotation.step"
    """Some records were rewrapped; the old key, detail: how many."""
    AUDIT_START = "audit.start"
    AUDIT_STOP = "audit.stop"
    AUDIT_READ = "audit.read"
    AUDIT_PURGE = "audit.purge"


_INSERT = Statement(
    insert(audit)
    .values(
        {
            name: bindparam(name)
            for name in (
                "at_ms",
                "actor_role",
                "actor_id",
                "origin",
                "action",
                "outcome",
                "object_id",
                "detail",
            )
        }
    )
    # Nobody waits for the new row's number.
    .inline()
)
_IN_PROCESS = Actor("gateway", "embedded", "process")
_ACTOR: ContextVar[Actor] = ContextVar("vault_actor", default=_IN_PROCESS)


def current_actor() -> Actor:
    """Return who acts in this context. Units run on another thread: ask before handing them in."""
    return _ACTOR.get()


@contextmanager
def acting_as(actor: Actor) -> Iterator[None]:
    """Record what is done inside as done by ``actor``."""
    token = _ACTOR.set(actor)
    try:
        yield
    finally:
        _ACTOR.reset(token)


def note(
    uow: UnitOfWork, actor: Actor, action: Action, object_id: str, *, outcome: str = OK, detail: str = ""
) -> None:
    """Add a row at the end of this unit's batch. ``outcome`` is ``ok`` or a stable code of the reason."""
    uow.append(
        _INSERT,
        {
            "at_ms": uow.now_ms,
            "actor_role": actor.role,
            "actor_id": actor.actor_id,
            "origin": actor.origin,
            "action": action.value,
            "outcome": outcome,
            "object_id": object_id,
            "detail": detail,
        },
    )
    uow.signal(SIGNAL)


def note_use(uow: UnitOfWork, actor: Actor, payment_method_id: str, operation: Any) -> None:
    """Record that an operation opens a method's record for a provider, or was refused to."""
    note(
        uow,
        actor,
        Action.METHOD_USE,
        payment_method_id,
        outcome=operation.refusal or OK,
        detail=operation.operation_id,
    )
