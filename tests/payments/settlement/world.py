"""Orders that were paid, and what a provider and a bank write about them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import insert

from gateway.kernel.store.unit import Store, UnitOfWork
from gateway.ledger import accounts
from gateway.ledger.balances import account_balances
from gateway.ledger.days import DAY_MS, day_of, start_of
from gateway.ledger.entries import move
from gateway.ledger.posting import post
from gateway.payments.settlement.files import BankFile, SettlementFile, read_file
from gateway.payments.settlement.importing import Imported, import_file
from gateway.payments.settlement.model import Outcome
from gateway.payments.settlement.report import Report, report_on
from gateway.payments.settlement.tariffs import TARIFFS
from gateway.payments.tables import payment_intent, payment_operation
from wallets.vault.port import OperationKind
from wallets.vault.providers.settlement import (
    BankLine,
    SettlementLine,
    bank_csv,
    merchant_payouts,
    settlement_csv,
)

DAY = "2026-11-20"
_KINDS = {
    "charge": OperationKind.CAPTURE,
    "refund": OperationKind.REFUND,
    "payout": OperationKind.PAYOUT,
}


@dataclass
class World:
    """Writes operations as they stand in our tables, and the lines that a provider would write of them."""

    store: Store
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    async def did(
        self,
        kind: str,
        amount: int,
        *,
        at_ms: int | None = None,
        currency: str = "EUR",
        merchant: str = "mer_1",
        state: str = "succeeded",
        recorded_after_ms: int = 40,
        booked: bool = True,
    ) -> SettlementLine:
        """Do something, and return the line that the provider writes of it on the day it was done."""
        number = next(self.numbers)
        decided = (start_of(DAY) + 3_600_000 + number * 1000) if at_ms is None else at_ms
        operation_id = f"op_{decided - 50:012x}{number:016x}"
        order_id = f"ord_{number:028x}"

        def unit(uow: UnitOfWork) -> None:
            row = {
                "operation_id": operation_id,
                "order_id": order_id,
                "kind": _KINDS[kind].value,
                "state": state,
                "currency": currency,
                "amount_minor": amount,
                "provider_reference": f"sim_{number}",
                "created_at_ms": decided - 50,
                "updated_at_ms": decided + recorded_after_ms,
            }
            uow.core(insert(payment_operation).values(row))
            intent = {
                **{"intent_id": f"int_{number}", "order_id": order_id, "merchant_id": merchant},
                **{"customer_id": "cus_1", "state": "succeeded", "currency": currency},
                **{"amount_minor": amount, "authorized_minor": amount, "captured_minor": amount},
                **{"voided_minor": 0, "refunded_minor": 0, "created_at_ms": decided},
            }
            uow.core(insert(payment_intent).values(intent))
            if booked and state == "succeeded":
                sign = 1 if kind == "charge" else -1
                entries = move(
                    currency,
                    sign * amount,
                    debit=accounts.clearing("simulated"),
                    credit=accounts.DEFERRED_REVENUE,
                )
                post(uow, f"x.{kind}", merchant, order_id, entries)

        await self.store.write(unit)
        gross = amount if kind == "charge" else -amount
        return line(
            kind,
            gross,
            operation_id=operation_id,
            reference=f"sim_{number}",
            at_ms=decided,
            currency=currency,
        )

    async def balances(self, merchant: str = "mer_1") -> dict[tuple[str, str], int]:
        found = await self.store.read(lambda reader: account_balances(reader, merchant))
        return {(one.account, one.unit): one.amount for one in found if one.amount}


def line(
    kind: str,
    gross: int,
    *,
    operation_id: str = "",
    reference: str = "",
    at_ms: int = start_of(DAY) + 1000,
    currency: str = "EUR",
    fee: int | None = None,
    batch_day: str | None = None,
    key: str | None = None,
) -> SettlementLine:
    """A line of the simulated acquirer, with the tariff's fee."""
    day = batch_day or day_of(at_ms)
    charged = TARIFFS["simulated"].fee(kind, gross) or 0 if fee is None else fee
    return SettlementLine(
        line_key=key or f"stl_{kind}_{operation_id or reference}_{currency}",
        operation_id=operation_id,
        provider_reference=reference,
        type=kind,
        gross_minor=gross,
        fee_minor=charged,
        net_minor=gross - charged,
        currency=currency,
        batch=f"{day}/{currency}",
        payout_id=f"po_{day.replace('-', '')}_{currency}",
        occurred_at_ms=at_ms,
        available_on=day_of(start_of(day) + 2 * DAY_MS),
    )


def with_payouts(lines: list[SettlementLine]) -> list[SettlementLine]:
    """Add the payout of each batch, as the provider ends its file."""
    payouts = []
    for payout_id in sorted({one.payout_id for one in lines}):
        of_it = [one for one in lines if one.payout_id == payout_id]
        day = of_it[0].batch[:10]
        at_ms = start_of(day) + DAY_MS - 1
        made = line(
            "merchant_payout",
            -sum(one.net_minor for one in of_it),
            reference=payout_id,
            at_ms=at_ms,
            currency=of_it[0].currency,
        )
        payouts.append(made)
    return [*lines, *payouts]


def settlement_file(lines: list[SettlementLine], name: str = "settlement.csv") -> SettlementFile:
    found = read_file(name, settlement_csv(lines).encode())
    assert isinstance(found, SettlementFile)
    return found


def bank_file(lines: list[BankLine], name: str = "bank.csv") -> BankFile:
    found = read_file(name, bank_csv(lines).encode())
    assert isinstance(found, BankFile)
    return found


def bank_lines(lines: list[SettlementLine]) -> list[BankLine]:
    return merchant_payouts(lines, "Simulated Acquirer")


async def reconciled(
    store: Store, *files: SettlementFile | BankFile, merchant: str = "mer_1"
) -> tuple[list[Imported], Report]:
    done = [await import_file(store, file, merchant) for file in files]
    return done, await report_on(store, files)


def found_in(report: Report) -> set[tuple[Outcome, str]]:
    return {(one.outcome, one.name) for one in report.differences}
