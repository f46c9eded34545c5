"""What may change about a digital part that copies of may be sold already.

A cap may sink to what is sold and never rises: buyers of a limited edition rely on it, and on the chain a
cap is defined once and for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gateway.catalog.declarations import DigitalDeclaration
from gateway.catalog.model import EditionKind


def edition_changes(
    stored: Mapping[str, Any] | None, declared: DigitalDeclaration | None, copies: Callable[[], int] | None
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the field and the reason of every change that is refused.

    ``stored`` is the digital part as the database holds it. ``copies`` counts those held, reserved and
    issued; without it no cap can be lowered.
    """
    if stored is None:
        return
    if declared is None:
        yield ("digital",), "owners may hold it; it cannot be taken away"
        return
    edition, here = declared.edition, ("digital", "edition")
    before = stored["cap"]
    for name in ("contract", "token_id"):
        was, now = stored.get(name), getattr(declared, name)
        if was != now:
            yield ("digital", name), f"was {was or 'left out'} and cannot change: tokens may be there"
    if stored["delivery"] != declared.delivery:
        yield ("digital", "delivery"), f"was {stored['delivery']} and cannot change"
    if (stored["edition"] == EditionKind.NUMBERED) != (edition.kind is EditionKind.NUMBERED):
        yield (
            (*here, "kind"),
            f"was {stored['edition']}: copies are numbered from the first one or not at all",
        )
    if before is not None and (edition.cap is None or edition.cap > before):
        yield (*here, "cap"), f"was {before} and cannot rise"
    if edition.cap is not None and (before is None or edition.cap < before):
        if copies is None:
            yield (*here, "cap"), "cannot be lowered without asking the inventory what is sold"
        elif edition.cap < (sold := copies()):
            yield (*here, "cap"), f"cannot sink to {edition.cap}: {sold} copies are reserved or sold"
