"""The one challenge that follows a soft decline (P11: step up once with 3-D Secure).

An issuer that answers ``soft_needs_sca`` (Visa 1A, Mastercard 65) wants to see the customer, whatever
exemption was asked for. The same method is tried once more with a challenge requested and without an
exemption; if that is declined too, the decline stands.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gateway.kernel.documents import decode
from wallets.vault.port import DeclineClass


@dataclass(frozen=True, slots=True)
class Tried:
    """An attempt of the order that has been answered."""

    payment_method_id: str
    decline_class: str | None


def steps_up(now: DeclineClass | str | None, payment_method_id: str, tried: Iterable[Tried]) -> bool:
    """Whether this decline is answered with a challenge: the first soft decline of this method.

    ``tried`` holds the attempts of the order, with or without the one that was just declined.
    """
    if now != DeclineClass.SOFT_NEEDS_SCA:
        return False
    soft = sum(
        one.payment_method_id == payment_method_id and one.decline_class == DeclineClass.SOFT_NEEDS_SCA
        for one in tried
    )
    return soft <= 1


def asks_at_once(payment_method_id: str, tried: Iterable[Tried]) -> bool:
    """Whether a further attempt with this method requests a challenge at once: the issuer asked for one."""
    return any(
        one.payment_method_id == payment_method_id and one.decline_class == DeclineClass.SOFT_NEEDS_SCA
        for one in tried
    )


def tried_of(attempts: Iterable[Any]) -> list[Tried]:
    """Return what `steps_up` needs of ``payment_attempt`` rows."""
    return [
        Tried(row.payment_method_id, None if row.decline is None else decode(row.decline).get("class"))
        for row in attempts
    ]
