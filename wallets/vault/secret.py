"""A text that prints masked, so that it cannot slip into a log line, a repr or an error by accident."""

from __future__ import annotations

import hmac
from typing import Any, NoReturn


class Secret:
    """Holds a card number, a security code or a name. `reveal` is the only way to the text.

    It refuses to be pickled and copied: crossing a process boundary is a decision of the adapter there.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text. Call it inside the expression that needs it; keep no other reference."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        raise TypeError("a secret is not a key")

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a secret is not copied or pickled")
