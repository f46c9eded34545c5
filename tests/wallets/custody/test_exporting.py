"""A customer's key is given once per export, to one public key, and never any other key."""

from __future__ import annotations

import json

import pytest
from eth_account import Account
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey

from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import VitrineError
from gateway.kernel.events.log import open_stream
from gateway.kernel.store.sqlite import SqliteStore
from wallets.custody.accounts import Custody, is_exported
from wallets.custody.exporting import (
    MOST_OPEN,
    VALID_MS,
    KeyExport,
    KeyExports,
    begin_export,
    finish_export,
    open_export,
    read_recipient,
)
from wallets.custody.local_signer import LocalSigner
from wallets.custody.sealed_seed import SealedSeed

RECIPIENTS = [OKPKey.generate_key("X25519"), ECKey.generate_key("P-256")]


@pytest.fixture
def signer() -> LocalSigner:
    return LocalSigner(SealedSeed(bytes(range(64))))


@pytest.fixture
async def custody(custody_store: SqliteStore, signer: LocalSigner) -> Custody:
    await custody_store.write(lambda uow: open_stream(uow, "cus_1"))
    return Custody(signer, custody_store)


async def begun(store: SqliteStore, address: str, recipient: OKPKey | ECKey = RECIPIENTS[0]) -> KeyExport:
    public = read_recipient(recipient.as_dict(private=False))
    return await store.write(lambda uow: begin_export(uow, "cus_1", "dev_1", address, public))


@pytest.mark.parametrize("recipient", RECIPIENTS, ids=["X25519", "P-256"])
async def test_the_key_is_readable_by_its_recipient_alone(
    custody_store: SqliteStore, signer: LocalSigner, custody: Custody, recipient: OKPKey | ECKey
) -> None:
    address = await custody.ensure_account("cus_1")
    export = await begun(custody_store, address, recipient)
    sealed = await KeyExports(custody, signer).sealed(export)
    opened = json.loads(jwe.decrypt_compact(sealed, recipient).plaintext or b"")
    assert opened["address"] == address
    assert Account.from_key(opened["private_key"]).address == address
    assert opened["private_key"][2:] not in sealed
    with pytest.raises((JoseError, ValueError)):
        jwe.decrypt_compact(sealed, type(recipient).generate_key(recipient.curve_name))
    # Another time it is another text.
    assert await KeyExports(custody, signer).sealed(export) != sealed


@pytest.mark.parametrize("name", ["minter/0", "minter/7", "treasury"])
async def test_no_other_key_is_ever_given(signer: LocalSigner, name: str) -> None:
    with pytest.raises(VitrineError, match=r"signer\.not_exportable"):
        await signer.export_key(name)


async def test_a_key_shows_nothing_when_it_is_printed(signer: LocalSigner) -> None:
    key = await signer.export_key("customer/0")
    assert key.secret.hex() not in f"{key!r} {key}" and repr(key.secret) not in repr(key)


def wrong_recipients() -> dict[str, dict[str, object]]:
    ec = dict(RECIPIENTS[1].as_dict(private=False))
    return {
        "private": dict(RECIPIENTS[1].as_dict(private=True)),
        "another curve": dict(ECKey.generate_key("P-384").as_dict(private=False)),
        "for signatures": dict(OKPKey.generate_key("Ed25519").as_dict(private=False)),
        "not on its curve": {**ec, "x": ec["y"]},
        "nothing": {},
        "half": {"kty": "EC", "crv": "P-256", "x": ec["x"]},
        "of small order": {"kty": "OKP", "crv": "X25519", "x": "A" * 43},
        "not base64url": {"kty": "OKP", "crv": "X25519", "x": "!" * 43},
        # The same point, in as many characters as one likes.
        "with leading zeros": {**ec, "x": "A" * 40_000 + str(ec["x"])},
        "a shared secret": {"kty": "oct", "k": "AAAA"},
        "a list": {"kty": ["EC"], "crv": {"a": 1}},
    }


@pytest.mark.parametrize("what", wrong_recipients())
def test_another_kind_of_recipient_is_refused(what: str) -> None:
    with pytest.raises(VitrineError, match=r"wallet\.export_recipient"):
        read_recipient(wrong_recipients()[what])


async def test_what_the_passkey_signs_differs_by_everything_that_matters(
    custody_store: SqliteStore, custody: Custody
) -> None:
    address = await custody.ensure_account("cus_1")
    exports = [await begun(custody_store, address, recipient) for recipient in (*RECIPIENTS, RECIPIENTS[0])]
    assert len({export.challenge for export in exports}) == 3
    assert all(len(export.challenge) == 32 for export in exports)


async def test_an_export_is_for_the_device_that_asked_in_time_and_once(
    custody_store: SqliteStore, custody: Custody, clock: ManualClock
) -> None:
    address = await custody.ensure_account("cus_1")
    export = await begun(custody_store, address)

    async def opened(customer_id: str, device_id: str) -> KeyExport:
        return await custody_store.read(
            lambda reader: open_export(reader, customer_id, device_id, export.export_id)
        )

    assert await opened("cus_1", "dev_1") == export
    for stranger in (("cus_2", "dev_1"), ("cus_1", "dev_2")):
        with pytest.raises(VitrineError, match=r"wallet\.export_unknown"):
            await opened(*stranger)
    assert not await custody_store.read(lambda reader: is_exported(reader, "cus_1"))
    await custody_store.write(lambda uow: finish_export(uow, export, "pky_1"))
    assert await custody_store.read(lambda reader: is_exported(reader, "cus_1"))
    assert not await custody_store.read(lambda reader: is_exported(reader, "cus_2"))
    with pytest.raises(VitrineError, match=r"wallet\.export_decided"):
        await opened("cus_1", "dev_1")
    with pytest.raises(VitrineError, match=r"wallet\.export_decided"):
        await custody_store.write(lambda uow: finish_export(uow, export, "pky_1"))
    late = await begun(custody_store, address)
    clock.advance(VALID_MS)
    with pytest.raises(VitrineError, match=r"wallet\.export_decided"):
        await custody_store.write(lambda uow: finish_export(uow, late, "pky_1"))


async def test_only_so_many_exports_at_once(custody_store: SqliteStore, custody: Custody) -> None:
    address = await custody.ensure_account("cus_1")
    for _ in range(MOST_OPEN):
        await begun(custody_store, address)
    with pytest.raises(VitrineError, match=r"wallet\.export_too_many"):
        await begun(custody_store, address)
