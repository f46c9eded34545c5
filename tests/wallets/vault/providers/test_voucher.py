"""Vouchers: a code of high entropy, a balance that is spent once, value that comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.kernel.errors import InvalidError
from gateway.kernel.money import Money
from tests.wallets.vault.providers.stands import DAY_MS, Stand, voucher_stand
from tests.wallets.vault.shop import CUSTOMER, eur
from wallets.vault.port import MethodKind, OperationStatus, PassedMethod, StoredMethod
from wallets.vault.providers.voucher import VoucherBook
from wallets.vault.secret import Secret

S = OperationStatus


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with voucher_stand(tmp_path) as made:
        yield made


def book(stand: Stand) -> VoucherBook:
    found = stand.provider.provider
    assert isinstance(found, VoucherBook)
    return found


async def issued(stand: Stand, amount: Money, days: int = 30) -> tuple[StoredMethod, str]:
    facts, code = await book(stand).issue(amount, stand.manual_clock.now_ms() + days * DAY_MS)
    method = await stand.service.store_method(CUSTOMER, PassedMethod(MethodKind.VOUCHER, code))
    assert method.last4 == facts.last4 == code.reveal()[-4:]
    return method, facts.voucher_id


async def balance(stand: Stand, voucher_id: str) -> int:
    facts = await book(stand).facts(voucher_id)
    assert facts is not None
    return facts.balance.amount_minor


async def test_many_spends_at_once_never_exceed_the_balance(stand: Stand) -> None:
    method, voucher_id = await issued(stand, eur(1000))
    requests = [stand.request(stand.terms(method, eur(300)), eur(300)) for _ in range(10)]
    results = await asyncio.gather(*(stand.vault.authorize(each) for each in requests))
    assert sorted(each.status for each in results) == [S.DECLINED] * 7 + [S.SUCCEEDED] * 3
    assert await balance(stand, voucher_id) == 100
    declined = next(each for each in results if each.status is S.DECLINED)
    assert declined.decline is not None
    assert declined.decline.code == "voucher:insufficient"


async def test_a_void_and_a_refund_put_the_value_back(stand: Stand) -> None:
    method, voucher_id = await issued(stand, eur(1000))
    request = stand.request(stand.terms(method, eur(800)), eur(800))
    await stand.vault.authorize(request)
    await stand.void(request.operation_id, eur(300))
    assert await balance(stand, voucher_id) == 500
    captured = await stand.capture(request.operation_id, eur(500))
    await stand.refund(captured.operation_id, eur(200))
    await stand.refund(captured.operation_id, eur(300))
    assert await balance(stand, voucher_id) == 1000


async def test_an_expired_voucher_pays_nothing_but_takes_refunds(stand: Stand) -> None:
    method, voucher_id = await issued(stand, eur(1000), days=1)
    request = stand.request(stand.terms(method, eur(400)), eur(400))
    await stand.vault.authorize(request)
    captured = await stand.capture(request.operation_id, eur(400))
    stand.manual_clock.advance(DAY_MS)
    late = stand.request(stand.terms(method, eur(10)), eur(10))
    declined = await stand.vault.authorize(late)
    assert declined.decline is not None
    assert declined.decline.code == "voucher:expired"
    assert (await stand.refund(captured.operation_id, eur(400))).status is S.SUCCEEDED
    assert await balance(stand, voucher_id) == 1000


async def test_the_code_is_nowhere_in_the_database(stand: Stand, tmp_path: Path) -> None:
    _, code = await book(stand).issue(eur(1000), stand.manual_clock.now_ms() + DAY_MS)
    await stand.service.store_method(CUSTOMER, PassedMethod(MethodKind.VOUCHER, code))
    plain = code.reveal()
    assert len(plain) == 26
    for path in (tmp_path / "vault").iterdir():
        assert plain.encode() not in path.read_bytes()


async def test_a_code_is_read_as_people_type_it(stand: Stand) -> None:
    _, code = await book(stand).issue(eur(1000), stand.manual_clock.now_ms() + DAY_MS)
    plain = code.reveal()
    typed = "-".join(plain[at : at + 5] for at in range(0, 26, 5)).lower().replace("0", "o")
    method = await stand.service.store_method(CUSTOMER, PassedMethod(MethodKind.VOUCHER, Secret(typed)))
    again = await stand.service.store_method(CUSTOMER, PassedMethod(MethodKind.VOUCHER, code))
    assert again.payment_method_id == method.payment_method_id


async def test_unknown_expired_and_worthless_vouchers_are_refused(stand: Stand) -> None:
    _, code = await book(stand).issue(eur(1000), stand.manual_clock.now_ms() + DAY_MS)
    with pytest.raises(InvalidError, match=r"method\.voucher_unknown"):
        wrong = Secret(code.reveal()[:-1] + ("0" if code.reveal()[-1] != "0" else "1"))
        await stand.service.store_method(CUSTOMER, PassedMethod(MethodKind.VOUCHER, wrong))
    stand.manual_clock.advance(DAY_MS)
    with pytest.raises(InvalidError, match=r"method\.voucher_expired"):
        await stand.service.store_method(CUSTOMER, PassedMethod(MethodKind.VOUCHER, code))
    with pytest.raises(InvalidError, match=r"voucher\.amount"):
        await book(stand).issue(eur(0), 1)


async def test_another_currency_is_not_paid(stand: Stand) -> None:
    method, voucher_id = await issued(stand, eur(1000))
    amount = Money(100, "USD")
    result = await stand.vault.authorize(stand.request(stand.terms(method, amount), amount))
    assert (result.status, result.refusal) == (S.FAILED, "provider.voucher_unknown")
    assert await balance(stand, voucher_id) == 1000
