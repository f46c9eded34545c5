"""How often short codes may be guessed (RFC 8628 section 5.1): a few per address, some per process."""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address

PER_ADDRESS = 10
ALL = 600
"""Wrong codes of everybody: with a hundred open actions a guess in 256 million is right."""
WINDOW_MS = 10 * 60_000
_MOST_ADDRESSES = 10_000


class CodeGuesses:
    """Counts wrong codes in a window. Kept in memory: a restart forgives, and the codes end in minutes."""

    def __init__(self, *, per_address: int = PER_ADDRESS, all_addresses: int = ALL) -> None:
        self._per_address = per_address
        self._all = all_addresses
        self._wrong: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._total = (0, 0)

    def begin(self, address: str, now_ms: int) -> int:
        """Return 0 when this address may try, else how long it has to wait, in milliseconds.

        A try counts as wrong until `right` says otherwise: many at once cannot all pass before the first is
        found wrong.
        """
        wait_ms = self._wait_ms(address, now_ms)
        if not wait_ms:
            self._count(address, now_ms)
        return wait_ms

    def right(self, address: str) -> None:
        """Take back the last try."""
        network = _network(address)
        since_ms, count = self._wrong.get(network, (0, 0))
        if count:
            self._wrong[network] = (since_ms, count - 1)
        since_ms, count = self._total
        self._total = (since_ms, max(count - 1, 0))

    def _wait_ms(self, address: str, now_ms: int) -> int:
        since_ms, wrong = self._wrong.get(_network(address), (0, 0))
        for at_ms, count, most in ((since_ms, wrong, self._per_address), (*self._total, self._all)):
            if count >= most and now_ms < at_ms + WINDOW_MS:
                return at_ms + WINDOW_MS - now_ms
        return 0

    def _count(self, address: str, now_ms: int) -> None:
        network = _network(address)
        self._wrong[network] = _counted(self._wrong.get(network, (0, 0)), now_ms)
        self._wrong.move_to_end(network)
        self._total = _counted(self._total, now_ms)
        if len(self._wrong) > _MOST_ADDRESSES:
            self._wrong.popitem(last=False)


def _counted(window: tuple[int, int], now_ms: int) -> tuple[int, int]:
    since_ms, count = window
    return (since_ms, count + 1) if now_ms < since_ms + WINDOW_MS else (now_ms, 1)


def _network(address: str) -> str:
    """Return what one party usually has: an IPv4 address, or the first 64 bits of an IPv6 one."""
    try:
        found = ip_address(address)
    except ValueError:
        return address[:64]
    return str(int(found) >> 64) if isinstance(found, IPv6Address) else str(found)
