"""The programs of others start, answer and stop."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.support import peers


def test_localstripe_answers_on_loopback_and_asks_for_a_key() -> None:
    with peers.localstripe() as url:
        assert httpx.get(f"{url}/v1/customers").status_code == 401
        made = httpx.post(
            f"{url}/v1/customers", headers={"Authorization": "Bearer sk_test_1"}, data={"name": "A"}
        )
        assert made.status_code == 200


def test_moto_answers_on_loopback() -> None:
    with peers.moto_server() as url:
        assert httpx.get(f"{url}/moto-api/").status_code == 200


def test_bean_check_tells_a_good_file_from_a_bad_one(tmp_path: Path) -> None:
    ledger = tmp_path / "books.beancount"
    ledger.write_text('2026-01-01 open Assets:Bank\n2026-01-02 * "a" "b"\n  Assets:Bank  1.00 EUR\n')
    assert peers.bean_check(ledger).returncode != 0
    ledger.write_text("2026-01-01 open Assets:Bank\n")
    assert peers.bean_check(ledger).returncode == 0
