"""The acquirer's settlement file and the bank's statement of one day (``docs/settlement-format.md``)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, timedelta

from gateway.kernel.clock import utc_datetime
from gateway.kernel.money import Money
from gateway.kernel.subjects import OperationId
from wallets.vault.port import OperationKind
from wallets.vault.providers.settlement import BankLine, LineType, SettlementLine, merchant_payouts
from wallets.vault.providers.simulated_rows import Effect

COUNTERPARTY = "Simulated Acquirer"
_AVAILABLE_AFTER = timedelta(days=2)
_LINE_TYPES = {
    OperationKind.CAPTURE: (LineType.CHARGE, 1),
    OperationKind.REFUND: (LineType.REFUND, -1),
    OperationKind.PAYOUT: (LineType.PAYOUT, -1),
}
_CHARGEBACK_FEE_MINOR = 1_500
_PAYOUT_FEE_MINOR = 25
_CHARGE_FEE_MINOR, _CHARGE_FEE_BASIS_POINTS = 10, 140


def settle_day(
    effects: Iterable[Effect], chargebacks: Iterable[tuple[OperationId, Money, int]], day: date
) -> tuple[list[SettlementLine], list[BankLine]]:
    """Return the lines of a day (UTC) and the bank lines of its merchant payouts."""
    lines = [
        _line(f"stl_{_key(each.operation_id)}", each.operation_id, kind, sign, each.amount, each.at_ms, day)
        for each in effects
        if each.kind in _LINE_TYPES and _day(each.at_ms) == day
        for kind, sign in (_LINE_TYPES[each.kind],)
    ]
    for capture_id, amount, at_ms in chargebacks:
        if _day(at_ms) == day:
            lines.append(
                _line(f"chb_{_key(capture_id)}", capture_id, LineType.CHARGEBACK, -1, amount, at_ms, day)
            )
            fee = Money(0, amount.currency)
            lines.append(_line(f"chf_{_key(capture_id)}", capture_id, LineType.FEE, 1, fee, at_ms, day))
    lines.sort(key=lambda line: (line.occurred_at_ms, line.line_key))
    nets: dict[str, int] = defaultdict(int)
    for line in lines:
        nets[line.currency] += line.net_minor
    payouts = [
        SettlementLine(
            line_key=f"stl_{_payout_id(day, currency)}",
            operation_id="",
            provider_reference=_payout_id(day, currency),
            type=LineType.MERCHANT_PAYOUT,
            gross_minor=-net,
            fee_minor=0,
            net_minor=-net,
            currency=currency,
            batch=f"{day}/{currency}",
            payout_id=_payout_id(day, currency),
            occurred_at_ms=max(line.occurred_at_ms for line in lines if line.currency == currency),
            available_on=str(day + _AVAILABLE_AFTER),
        )
        for currency, net in sorted(nets.items())
        if net
    ]
    return lines + payouts, merchant_payouts(payouts, COUNTERPARTY)


def _line(
    key: str, operation_id: OperationId, kind: LineType, sign: int, amount: Money, at_ms: int, day: date
) -> SettlementLine:
    gross = sign * amount.amount_minor
    fee = _fee(kind, amount.amount_minor)
    # What the issuer does by itself is not our operation.
    is_ours = kind not in (LineType.CHARGEBACK, LineType.FEE)
    return SettlementLine(
        line_key=key,
        operation_id=operation_id if is_ours else "",
        provider_reference=f"sim_{_key(operation_id)}",
        type=kind,
        gross_minor=gross,
        fee_minor=fee,
        net_minor=gross - fee,
        currency=amount.currency,
        batch=f"{day}/{amount.currency}",
        payout_id=_payout_id(day, amount.currency),
        occurred_at_ms=at_ms,
        available_on=str(day + _AVAILABLE_AFTER),
    )


def _fee(kind: LineType, amount_minor: int) -> int:
    if kind is LineType.CHARGE:
        share = (amount_minor * _CHARGE_FEE_BASIS_POINTS + 5_000) // 10_000
        return min(amount_minor, _CHARGE_FEE_MINOR + share)
    return {LineType.PAYOUT: _PAYOUT_FEE_MINOR, LineType.FEE: _CHARGEBACK_FEE_MINOR}.get(kind, 0)


def _payout_id(day: date, currency: str) -> str:
    return f"po_{day:%Y%m%d}_{currency}"


def _key(operation_id: str) -> str:
    return operation_id.rpartition("_")[2]


def _day(at_ms: int) -> date:
    return utc_datetime(at_ms).date()
