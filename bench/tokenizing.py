"""The vault's own work: store a card and spend from it, against bare AES-GCM and group commit of its rows.

At the vault's port, in this process: no transport, and a provider that answers at once and keeps nothing, so
that what is measured is the vault alone. The other side encrypts, seals and decrypts as much, and writes the
rows that one such pair wrote, 64 pairs to a commit.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench.figures import Figure
from bench.rows import ID, Write, dump, key_columns, read_only, writes_between
from bench.run import Run
from bench.vault_door import door_costs
from gateway.kernel.clock import SystemClock
from gateway.kernel.ids import TimeSortedIds
from gateway.kernel.interpreter import tune
from gateway.kernel.money import Money
from gateway.kernel.subjects import CustomerId, MerchantId, OperationId, OrderId
from wallets.vault.audit import Actor
from wallets.vault.audit_sealing import AuditSealer
from wallets.vault.keys import establish_keys
from wallets.vault.opening import KeyPlace, open_keys, open_store
from wallets.vault.port import (
    AllowanceId,
    AllowanceReason,
    AllowanceTerms,
    Authorize,
    CardEntry,
    OperationStatus,
)
from wallets.vault.providers.port import (
    AuthorizeOrder,
    Capabilities,
    ClearCard,
    FollowUpOrder,
    Lookup,
    NoAnswerError,
    Outcome,
    PayoutOrder,
    ProviderAnswer,
)
from wallets.vault.providers.test_cards import VISA
from wallets.vault.service import VaultService

_BATCH = 64
_AT_ONCE = 128
_RECORD = b'["4242424242424242",12,2035,"A. Lovelace"]'


class Willing:
    """A provider that approves at once and remembers nothing: what is left is the vault's own work."""

    capabilities = Capabilities(
        name="willing",
        test_numbers=frozenset({VISA}),
        partial_capture=True,
        most_captures=1_000,
        partial_void=True,
        partial_refund=True,
        challenge=False,
        incremental_authorization=False,
        idempotency_key_kept_ms=86_400_000,
        lookup_fences=True,
        absent_is_final_after_ms=0,
    )

    async def verify(self, card: ClearCard) -> ProviderAnswer:
        return ProviderAnswer(Outcome.SUCCEEDED)

    async def authorize(self, order: AuthorizeOrder) -> ProviderAnswer:
        return ProviderAnswer(
            Outcome.SUCCEEDED,
            reference=f"w_{order.operation_id[-16:]}",
            network_transaction_id="000000000000001",
            capture_before_ms=2_000_000_000_000,
        )

    async def capture(self, order: FollowUpOrder) -> ProviderAnswer:
        raise NoAnswerError("captures are not measured")

    void = refund = increment = capture

    async def payout(self, order: PayoutOrder) -> ProviderAnswer:
        raise NoAnswerError("payouts are not measured")

    async def find(self, lookup: Lookup) -> ProviderAnswer | None:
        return None

    async def close(self) -> None:
        return None


async def measure(run: Run) -> list[Figure]:
    """Return the figure of the vault's own work."""
    scale = run.scale
    clock = SystemClock()
    ids = TimeSortedIds(clock)
    directory = run.folder / "vault"
    keys = open_keys(KeyPlace(directory / "keys"))
    store = open_store(directory, "", clock, ids)
    try:
        await establish_keys(store, keys.kms, keys.first, keys.maker)
        vault = VaultService(store, Willing(), keys.kms, clock, ids)
        # What the audit trail's seals cost is counted as the vault's own.
        sealer = AuditSealer(store, keys.kms, vault.ring, keys.anchor, Actor("vault", "bench", "process"))
        await sealer.start()
        merchant = ids.new(MerchantId)
        tune()  # as the vault's process is

        async def pair() -> None:
            customer = str(ids.new(CustomerId))
            method = await vault.tokenize(customer, CardEntry.typed(VISA, 12, 2035, "123", "A. Lovelace"))
            order, amount = str(ids.new(OrderId)), Money(4_900, "EUR")
            terms = AllowanceTerms(
                allowance_id=ids.new(AllowanceId),
                payment_method_id=method.payment_method_id,
                customer_id=customer,
                merchant_id=merchant,
                order_id=order,
                channel="metaverse",
                place_id=None,
                device_id=None,
                reason=AllowanceReason.MULTI_CAPTURE,
                max_amount=amount,
                max_uses=1,
                expires_at_ms=clock.now_ms() + 900_000,
            )
            spent = await vault.authorize(
                Authorize(ids.new(OperationId), terms, amount, customer, merchant, order, "metaverse")
            )
            assert spent.status is OperationStatus.SUCCEEDED, spent

        await pair()
        database = directory / "vault.db"
        with closing(read_only(database)) as reading:
            before = dump(reading)
            await pair()
            columns = {name: key_columns(reading, name) for name in before}
            writes = [
                _numbered_anew(write, columns[write.table])
                for write in writes_between(before, dump(reading), columns)
                if write.inserts
            ]
        raw = _Raw(run.folder / "raw.db", database, writes)
        ratios, ours_per_s, raw_per_s = [], [], []
        with closing(raw):
            for segment in range(scale.tokenize_segments + 1):
                began = time.perf_counter()
                await _at_once(pair, scale.tokenize_pairs)
                ours_s = time.perf_counter() - began
                # On this thread on purpose: nothing else happens meanwhile, and both sides take turns.
                raw_s = raw.pairs(scale.tokenize_pairs)
                if segment:
                    ratios.append(raw_s / ours_s)
                    ours_per_s.append(scale.tokenize_pairs / ours_s)
                    raw_per_s.append(scale.tokenize_pairs / raw_s)
        await sealer.stop()
    finally:
        await store.close()
    door = await door_costs(run.folder / "door", scale.tokenize_pairs // 4)
    rows = ", ".join(f"{sum(write.table == name for write in writes)} {name}" for name in _tables(writes))
    return [
        Figure(
            "tokenize_rate_vs_limit",
            median(ratios),
            "ratio",
            0.25,
            "higher",
            f"a card stored for a new customer and an allowance granted and spent from it, at the vault's "
            f"port, {_AT_ONCE} at once, a provider that answers at once: {median(ours_per_s):,.0f}/s; raw: "
            f"as many AES-256-GCM and HMAC operations and the same rows ({rows}) and indexes, bare sqlite3, "
            f"WAL, synchronous=FULL, {_BATCH} pairs a commit: {median(raw_per_s):,.0f}/s; median of "
            f"{scale.tokenize_segments} interleaved segments of {scale.tokenize_pairs} pairs. Beside it, per "
            f"call: {door}",
        )
    ]


def _numbered_anew(write: Write, key: list[str]) -> Write:
    """Leave a counted key out: the database counts on."""
    kept = {
        name: value
        for name, value in write.values.items()
        if not (name in key and len(key) == 1 and isinstance(value, int))
    }
    return replace(write, values=kept)


def _tables(writes: list[Write]) -> list[str]:
    return list(dict.fromkeys(write.table for write in writes))


async def _at_once(pair: Any, count: int) -> None:
    async def several(number: int) -> None:
        for _ in range(number):
            await pair()

    share, rest = divmod(count, _AT_ONCE)
    await asyncio.gather(*(several(share + (position < rest)) for position in range(_AT_ONCE)))


class _Raw:
    """The same cryptography and the same rows, with nothing between them and the libraries."""

    def __init__(self, path: Path, source: Path, writes: list[Write]) -> None:
        with sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True) as old:
            copy = sqlite3.connect(path)
            old.backup(copy)
            copy.close()
        old.close()
        self._connection = sqlite3.connect(path, isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-32768"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._writes = writes
        self._numbers = itertools.count(1)
        self._kek = AESGCM(os.urandom(32))
        self._mac = os.urandom(32)

    def close(self) -> None:
        """Close the copy."""
        self._connection.close()

    def pairs(self, count: int) -> float:
        """Do so many pairs and return the seconds they took."""
        began = time.perf_counter()
        while count > 0:
            batch: dict[str, list[list[Any]]] = {}
            for _ in range(min(count, _BATCH)):
                for sql, row in self._one():
                    batch.setdefault(sql, []).append(row)
            self._connection.execute("BEGIN IMMEDIATE")
            for sql, rows in batch.items():
                self._connection.executemany(sql, rows)
            self._connection.execute("COMMIT")
            count -= _BATCH
        return time.perf_counter() - began

    def _one(self) -> Iterator[tuple[str, list[Any]]]:
        context = secrets.token_bytes(48)
        key, nonce, wrap_nonce = AESGCM.generate_key(256), secrets.token_bytes(12), secrets.token_bytes(12)
        sealed = AESGCM(key).encrypt(nonce, _RECORD, context)
        wrapped = wrap_nonce + self._kek.encrypt(wrap_nonce, key, context)
        fingerprint = hmac.new(self._mac, b"4242424242424242", hashlib.sha256).digest()
        # Spending opens the record again.
        opened = self._kek.decrypt(wrapped[:12], wrapped[12:], context)
        assert AESGCM(opened).decrypt(nonce, sealed, context) == _RECORD
        fresh = {"ciphertext": sealed, "wrapped_key": wrapped, "nonce": nonce, "fingerprint": fingerprint}
        names: dict[str, str] = {}

        def name(found: Any) -> str:
            text: str = found.group()
            if text not in names:
                names[text] = f"{found.group(1)}_{next(self._numbers):028x}"
            return names[text]

        for write in self._writes:
            row = [
                fresh.get(column, ID.sub(name, given) if isinstance(given, str) else given)
                for column, given in write.values.items()
            ]
            yield write.sql, row
