"""The providers of one vault: which of them takes a method, and which one an operation belongs to.

A method gets its provider when it is stored and keeps it; an operation has its method's, a follow-up its
parent's. Nothing is decided by a provider's name: what one can do is in its `Capabilities`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wallets.vault.port import MethodKind, ProviderTerms
from wallets.vault.provider_calls import MOST_CALLS, ProviderCalls
from wallets.vault.provider_terms import terms_of
from wallets.vault.providers.port import Capabilities, NoAnswerError, Notifying, Provider


@dataclass(frozen=True, slots=True)
class Route:
    """A preference: methods of this kind (in this currency, if named) go to that provider."""

    kind: MethodKind
    provider: str
    currency: str | None = None


class Providers:
    """Every provider under its name. The first is the one that rows without a name belong to."""

    def __init__(
        self,
        providers: Sequence[Provider],
        *,
        deadline_ms: int,
        routes: Sequence[Route] = (),
        most_calls: int = MOST_CALLS,
    ) -> None:
        """``deadline_ms`` bounds each call, ``most_calls`` the calls to one provider at a time.

        Raises ValueError for a name that is there twice, and for a route to a provider that is not there or
        does not take the kind.
        """
        calls = [ProviderCalls(provider, deadline_ms, most_calls) for provider in providers]
        self._by_name = {each.capabilities.name: each for each in calls}
        if len(self._by_name) != len(calls) or not calls:
            raise ValueError("providers need names of their own, and there must be one")
        self._terms = {
            each.capabilities.name: terms_of(each.capabilities, default=each is calls[0]) for each in calls
        }
        self._routes = tuple(routes)
        for route in routes:
            if route.kind not in self._of(route.provider).capabilities.kinds:
                raise ValueError(f"{route.provider} does not take {route.kind}")
        self.default = calls[0]
        self.only = calls[0] if len(calls) == 1 else None
        """Set where there is nothing to choose."""

    def named(self, name: str | None) -> ProviderCalls:
        """Return the provider of a row. Raises NoAnswerError for one that is not configured any more."""
        if name is None:
            return self.default
        found = self._by_name.get(name)
        if found is None:
            # Its operations stay unknown until it is there again: nobody else can say.
            raise NoAnswerError("the provider of this operation is not configured")
        return found

    def able(self, name: str | None) -> Capabilities | None:
        """Return what the provider of a row can do; None for one that is not configured any more."""
        found = self.default if name is None else self._by_name.get(name)
        return None if found is None else found.capabilities

    def terms(self, name: str | None) -> ProviderTerms | None:
        """Return what the order side has to know of the provider of a row; None where there is nothing to
        say, and for a provider that is not configured any more."""
        return self._terms.get(self.default.capabilities.name if name is None else name)

    def lists(self, provider: str, name: str | None) -> bool:
        """Whether the file of ``provider`` can tell of a row: its operation is in there, and no people decide
        it."""
        able = self.able(name)
        if able is None:
            return name == provider
        return not able.by_hand and provider == (able.settled_with or able.name)

    def taking(self, kind: MethodKind, currency: str | None = None) -> ProviderCalls | None:
        """Return who takes a method of this kind: by the routes, else the first that can."""
        for route in self._routes:
            if route.kind is kind and route.currency in (None, currency):
                return self._of(route.provider)
        return next((each for each in self._by_name.values() if kind in each.capabilities.kinds), None)

    def notifying(self, name: str) -> Notifying | None:
        """Return the provider of this name if it sends webhooks."""
        found = self._by_name.get(name)
        return None if found is None else found.notifying

    def senders(self) -> list[str]:
        """Return the names of those that send webhooks."""
        return [name for name, each in self._by_name.items() if each.notifying is not None]

    async def close(self) -> None:
        for each in self._by_name.values():
            await each.close()

    def _of(self, name: str) -> ProviderCalls:
        try:
            return self._by_name[name]
        except KeyError:
            raise ValueError(f"no provider is named {name!r}") from None
