from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from wallets.vault.crypto import Record, RecordPlace, RecordUnreadableError, open_record, seal
from wallets.vault.kms_local import LocalKms

PLACE = RecordPlace("pm_1", "cus_1", "card", 1)
PLAIN = b'["4242424242424242",12,2031,"Ada"]'


@pytest.fixture
async def kms(tmp_path: Path) -> LocalKms:
    kms = LocalKms(tmp_path / "keys")
    await kms.ensure(kek_id="a", mac_key_id="m")
    await kms.ensure(kek_id="b", mac_key_id="m")
    return kms


async def test_a_record_opens_in_its_place(kms: LocalKms) -> None:
    assert await open_record(kms, PLACE, await seal(kms, "a", PLACE, PLAIN)) == PLAIN


async def test_the_clear_text_and_the_data_key_are_new_each_time(kms: LocalKms) -> None:
    one, two = await seal(kms, "a", PLACE, PLAIN), await seal(kms, "a", PLACE, PLAIN)
    assert b"4242" not in one.ciphertext
    assert len(one.nonce) == 12
    assert len(one.ciphertext) == len(PLAIN) + 16
    assert (one.nonce, one.wrapped_key, one.ciphertext) != (two.nonce, two.wrapped_key, two.ciphertext)


@pytest.mark.parametrize(
    "elsewhere",
    [
        replace(PLACE, token_id="pm_2"),
        replace(PLACE, customer_id="cus_2"),
        replace(PLACE, purpose="iban"),
        replace(PLACE, record_version=2),
        # The places are encoded so that moving a character across a border is another place.
        RecordPlace("pm_1cus", "_1", "card", 1),
    ],
)
async def test_a_record_opens_nowhere_else(kms: LocalKms, elsewhere: RecordPlace) -> None:
    record = await seal(kms, "a", PLACE, PLAIN)
    with pytest.raises(RecordUnreadableError):
        await open_record(kms, elsewhere, record)


async def test_parts_of_two_records_do_not_mix(kms: LocalKms) -> None:
    one, two = await seal(kms, "a", PLACE, PLAIN), await seal(kms, "a", PLACE, PLAIN)
    for mixed in (
        replace(one, ciphertext=two.ciphertext),
        replace(one, nonce=two.nonce),
        replace(one, wrapped_key=two.wrapped_key),
    ):
        with pytest.raises(RecordUnreadableError):
            await open_record(kms, PLACE, mixed)


async def test_any_flipped_bit_closes_the_record(kms: LocalKms) -> None:
    record = await seal(kms, "a", PLACE, PLAIN)
    for name in ("ciphertext", "nonce", "wrapped_key"):
        stored = getattr(record, name)
        for bit in range(len(stored) * 8):
            flipped = bytearray(stored)
            flipped[bit // 8] ^= 1 << bit % 8
            with pytest.raises(RecordUnreadableError):
                await open_record(kms, PLACE, replace(record, **{name: bytes(flipped)}))


@pytest.mark.parametrize(
    "change", [{"kek_id": "b"}, {"kek_id": "../a"}, {"kek_id": "gone"}, {"format_version": 2}]
)
async def test_another_key_or_format_closes_the_record(kms: LocalKms, change: dict[str, object]) -> None:
    record = await seal(kms, "a", PLACE, PLAIN)
    with pytest.raises(RecordUnreadableError):
        await open_record(kms, PLACE, replace(record, **change))


@pytest.mark.parametrize("name", ["ciphertext", "nonce", "wrapped_key"])
async def test_a_truncated_record_is_refused(kms: LocalKms, name: str) -> None:
    record = await seal(kms, "a", PLACE, PLAIN)
    for length in (0, 5):
        with pytest.raises(RecordUnreadableError):
            await open_record(kms, PLACE, replace(record, **{name: getattr(record, name)[:length]}))


async def test_rewrapping_changes_the_key_and_not_the_record(kms: LocalKms) -> None:
    record = await seal(kms, "a", PLACE, PLAIN)
    wrapped = await kms.rewrap("a", record.wrapped_key, PLACE.associated_data(), "b")
    moved = Record(record.format_version, "b", wrapped, record.nonce, record.ciphertext)
    assert await open_record(kms, PLACE, moved) == PLAIN
