"""Who signs in: tokens, keys, and merchants' own customers."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.identity.customers import register_customer, require_customer_of
from gateway.identity.model import DEVICE_TOKEN_PREFIX, digest, new_secret
from gateway.identity.tokens import (
    authenticate_device,
    authenticate_merchant,
    issue_device_token,
    store_api_key,
)
from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import VitrineError
from gateway.kernel.events.log import position
from gateway.kernel.store.unit import UnitOfWork
from tests.support.stores import gateway_store


async def test_a_token_signs_its_device_in_until_it_ends(tmp_path: Path) -> None:
    clock = ManualClock()
    async with gateway_store(tmp_path, clock) as store:
        token = new_secret(DEVICE_TOKEN_PREFIX)

        def issue(uow: UnitOfWork) -> str:
            customer_id = register_customer(uow, "mer_1", "ada")
            issue_device_token(
                uow,
                token_digest=digest(token),
                customer_id=customer_id,
                kind="headset",
                name="",
                issued_by="mer_1",
                lifetime_ms=1000,
            )
            return customer_id

        customer_id = await store.write(issue)
        assert (
            await store.read(lambda reader: authenticate_device(reader, token))
        ).customer_id == customer_id
        clock.advance(999)
        await store.read(lambda reader: authenticate_device(reader, token))
        clock.advance(1)
        with pytest.raises(VitrineError) as caught:
            await store.read(lambda reader: authenticate_device(reader, token))
        assert caught.value.code == "auth.expired_token"


@pytest.mark.parametrize("token", ["", "vdt_unknown", "' OR 1=1 --", "vmk_x"])
async def test_an_unknown_token_signs_nobody_in(tmp_path: Path, token: str) -> None:
    async with gateway_store(tmp_path) as store:
        with pytest.raises(VitrineError) as caught:
            await store.read(lambda reader: authenticate_device(reader, token))
        assert caught.value.code == "auth.invalid_token"


async def test_secrets_are_kept_as_digests_only(tmp_path: Path) -> None:
    async with gateway_store(tmp_path) as store:
        key = new_secret("vmk_")
        await store.write(
            lambda uow: store_api_key(uow, key_digest=digest(key), merchant_id="mer_1", name="x")
        )
        assert (await store.read(lambda reader: authenticate_merchant(reader, key))).merchant_id == "mer_1"
    for file in tmp_path.iterdir():
        assert key.encode() not in file.read_bytes()


async def test_a_customer_is_registered_once_per_merchant_and_reference(tmp_path: Path) -> None:
    async with gateway_store(tmp_path) as store:
        first = await store.write(lambda uow: register_customer(uow, "mer_1", "ada"))
        again = await store.write(lambda uow: register_customer(uow, "mer_1", "ada"))
        other = await store.write(lambda uow: register_customer(uow, "mer_2", "ada"))
        assert first == again != other
        assert (await store.read(lambda reader: position(reader, first))) is not None


async def test_a_merchant_acts_only_for_customers_it_registered(tmp_path: Path) -> None:
    async with gateway_store(tmp_path) as store:
        customer_id = await store.write(lambda uow: register_customer(uow, "mer_1", "ada"))
        await store.read(lambda reader: require_customer_of(reader, "mer_1", customer_id))
        with pytest.raises(VitrineError) as caught:
            await store.read(lambda reader: require_customer_of(reader, "mer_2", customer_id))
        assert caught.value.code == "customer.not_found"
