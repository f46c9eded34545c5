"""V16: one contract for every key service. The HTTP adapter talks to a moto server, a process of its own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.kernel.clock import SystemClock
from gateway.kernel.ids import TimeSortedIds
from tests.support.peers import moto_server
from tests.wallets.vault.own_databases import CUSTODIAN
from tests.wallets.vault.sealing import one_card_key
from tests.wallets.vault.shop import Shop
from wallets.vault.audit_verifying import verify_audit
from wallets.vault.crypto import RecordPlace, RecordUnreadableError, open_record, seal
from wallets.vault.embedded import open_embedded_vault
from wallets.vault.keys import KeyPurpose
from wallets.vault.kms import KeyKind, KeyUseError, Kms
from wallets.vault.kms_aws import AwsKms, sigv4_signer
from wallets.vault.kms_local import LocalKms
from wallets.vault.opening import KeyPlace, open_keys
from wallets.vault.rotation import rotate

REGION = "eu-central-1"
CONTEXT = b'["vitrine.vault",1,"pm_1","cus_1","card",1]'


@dataclass
class Service:
    """A key service with two keys of each kind."""

    kms: Kms
    kek: str
    other_kek: str
    mac_key: str
    other_mac_key: str
    missing: str


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


async def test_v17_a_whole_vault_runs_and_rotates_on_a_key_service(
    credentials: None, moto_url: str, tmp_path: Path
) -> None:
    """No key is on this machine: no file, and none made by the vault."""
    usages = [("ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT"), *[("GENERATE_VERIFY_MAC", "HMAC_256")] * 2]
    first = [await make_key(moto_url, *usage) for usage in usages]
    place = KeyPlace(tmp_path / "anchor", REGION, moto_url, (first[0], first[1], first[2]), production=True)
    clock = SystemClock()
    ids = TimeSortedIds(clock)
    vault = await open_embedded_vault(tmp_path, clock, ids, key_place=place, make_card_key=one_card_key)
    shop = Shop(vault, clock, ids)
    method = await shop.method()
    paid = await shop.authorized()
    assert paid.allowance.payment_method_id == method.payment_method_id
    keys = open_keys(place)
    assert keys.maker is None
    for purpose, usage in zip(KeyPurpose, usages, strict=True):
        new = await make_key(moto_url, *usage)
        done = await rotate(vault.store, keys.kms, CUSTODIAN, purpose, new)
        assert done.is_finished
    assert await shop.method() == method
    await shop.authorized()
    await vault.sealer.seal()
    verdict = await verify_audit(vault.store, keys.kms)
    assert verdict.is_intact
    assert verdict.rows > 5
    await vault.close()
    await keys.close()
    assert list(tmp_path.rglob("*.key")) == []


async def make_key(url: str, usage: str, spec: str) -> str:
    """What a custodian does with the service's own tools; our adapter cannot make keys."""
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "TrentService.CreateKey"}
    body = json.dumps({"KeyUsage": usage, "KeySpec": spec}).encode()
    async with httpx.AsyncClient(trust_env=False) as http:
        signed = sigv4_signer(REGION)(url + "/", headers, body)
        answer = await http.post(url + "/", content=body, headers=dict(signed))
    arn: str = answer.raise_for_status().json()["KeyMetadata"]["Arn"]
    return arn


@pytest.fixture(params=["local", "aws"])
async def service(request: Any, tmp_path: Path) -> AsyncIterator[Service]:
    if request.param == "local":
        local = LocalKms(tmp_path / "keys")
        for kind in KeyKind:
            for name in ("one", "two"):
                await local.create(kind, name)
        yield Service(local, "one", "two", "one", "two", "missing")
        return
    request.getfixturevalue("credentials")
    url = request.getfixturevalue("moto_url")
    kms = AwsKms(url, sigv4_signer(REGION))
    keks = [await make_key(url, "ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT") for _ in range(2)]
    macs = [await make_key(url, "GENERATE_VERIFY_MAC", "HMAC_256") for _ in range(2)]
    missing = keks[0][:-36] + "00000000-0000-0000-0000-000000000000"
    yield Service(kms, *keks, *macs, missing)
    await kms.close()


async def test_v16_a_data_key_opens_in_its_context_and_nowhere_else(service: Service) -> None:
    key = await service.kms.generate_data_key(service.kek, CONTEXT)
    assert len(key.plain) == 32
    assert key.plain not in key.wrapped
    assert await service.kms.unwrap(service.kek, key.wrapped, CONTEXT) == key.plain
    with pytest.raises(KeyUseError):
        await service.kms.unwrap(service.kek, key.wrapped, CONTEXT + b" ")
    assert "***" in repr(key)


async def test_v16_data_keys_are_never_the_same(service: Service) -> None:
    keys = [await service.kms.generate_data_key(service.kek, CONTEXT) for _ in range(5)]
    assert len({key.plain for key in keys}) == len({key.wrapped for key in keys}) == 5


async def test_v16_another_key_does_not_open_it(service: Service) -> None:
    key = await service.kms.generate_data_key(service.kek, CONTEXT)
    for wrong in (service.other_kek, service.missing):
        with pytest.raises(KeyUseError):
            await service.kms.unwrap(wrong, key.wrapped, CONTEXT)


async def test_v16_a_changed_wrapped_key_does_not_open(service: Service) -> None:
    key = await service.kms.generate_data_key(service.kek, CONTEXT)
    for position in (0, len(key.wrapped) // 2, len(key.wrapped) - 1):
        changed = bytearray(key.wrapped)
        changed[position] ^= 1
        with pytest.raises(KeyUseError):
            await service.kms.unwrap(service.kek, bytes(changed), CONTEXT)
    for cut in (b"", key.wrapped[:20], key.wrapped[:-1]):
        with pytest.raises(KeyUseError):
            await service.kms.unwrap(service.kek, cut, CONTEXT)


async def test_v16_rewrapping_keeps_the_data_key_and_its_context(service: Service) -> None:
    key = await service.kms.generate_data_key(service.kek, CONTEXT)
    moved = await service.kms.rewrap(service.kek, key.wrapped, CONTEXT, service.other_kek)
    assert await service.kms.unwrap(service.other_kek, moved, CONTEXT) == key.plain
    for wrong_key, context in ((service.kek, CONTEXT), (service.other_kek, b"elsewhere")):
        with pytest.raises(KeyUseError):
            await service.kms.unwrap(wrong_key, moved, context)
    with pytest.raises(KeyUseError):
        await service.kms.rewrap(service.kek, key.wrapped, b"elsewhere", service.other_kek)
    with pytest.raises(KeyUseError):
        await service.kms.rewrap(service.kek, key.wrapped, CONTEXT, service.missing)


async def test_v16_macs_are_repeatable_and_belong_to_their_key(service: Service) -> None:
    mac = await service.kms.mac(service.mac_key, b"data")
    assert len(mac) == 32
    assert await service.kms.mac(service.mac_key, b"data") == mac
    assert await service.kms.mac(service.other_mac_key, b"data") != mac
    assert await service.kms.verify_mac(service.mac_key, b"data", mac)
    assert not await service.kms.verify_mac(service.mac_key, b"date", mac)
    assert not await service.kms.verify_mac(service.other_mac_key, b"data", mac)
    assert not await service.kms.verify_mac(service.mac_key, b"data", mac[:-1] + bytes([mac[-1] ^ 1]))
    with pytest.raises(KeyUseError):
        await service.kms.mac(service.missing, b"data")


async def test_v16_a_key_is_checked_for_its_use(service: Service) -> None:
    await service.kms.check(KeyKind.KEK, service.kek)
    await service.kms.check(KeyKind.MAC, service.mac_key)
    for kind in KeyKind:
        with pytest.raises(KeyUseError):
            await service.kms.check(kind, service.missing)


async def test_v15_a_record_sealed_with_it_opens_in_its_place_only(service: Service) -> None:
    place = RecordPlace("pm_1", "cus_1", "card", 1)
    record = await seal(service.kms, service.kek, place, b"4242424242424242")
    assert await open_record(service.kms, place, record) == b"4242424242424242"
    with pytest.raises(RecordUnreadableError):
        await open_record(service.kms, RecordPlace("pm_1", "cus_2", "card", 1), record)
