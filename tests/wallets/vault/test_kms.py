from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from wallets.vault.fingerprint import card_fingerprint
from wallets.vault.kms import DataKey, KeyKind, KeyUseError
from wallets.vault.kms_local import LocalKms
from wallets.vault.secret import Secret


async def test_keys_are_made_once_and_are_private(tmp_path: Path) -> None:
    kms = LocalKms(tmp_path / "keys")
    await asyncio.gather(*(kms.ensure(kek_id="k", mac_key_id="m") for _ in range(8)))
    files = sorted((tmp_path / "keys").iterdir())
    assert [file.name for file in files] == ["kek-k.key", "mac-m.key"]
    before = [file.read_bytes() for file in files]
    await LocalKms(tmp_path / "keys").ensure(kek_id="k", mac_key_id="m")
    assert [file.read_bytes() for file in files] == before
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


async def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    kms = LocalKms(tmp_path)
    await kms.ensure(kek_id="k", mac_key_id="m")
    (tmp_path / "kek-k.key").chmod(0o640)
    with pytest.raises(KeyUseError, match="0600"):
        await kms.generate_data_key("k", b"context")


async def test_a_missing_or_short_key_is_an_error_and_is_not_made_anew(tmp_path: Path) -> None:
    kms = LocalKms(tmp_path)
    with pytest.raises(KeyUseError, match="missing"):
        await kms.mac("m", b"data")
    short = tmp_path / "mac-m.key"
    short.write_bytes(b"short")
    short.chmod(0o600)
    with pytest.raises(KeyUseError, match="32 bytes"):
        await kms.mac("m", b"data")


async def test_a_wrapped_key_opens_only_in_its_context(tmp_path: Path) -> None:
    kms = LocalKms(tmp_path)
    await kms.ensure(kek_id="k", mac_key_id="m")
    key = await kms.generate_data_key("k", b"here")
    assert await kms.unwrap("k", key.wrapped, b"here") == key.plain
    with pytest.raises(KeyUseError):
        await kms.unwrap("k", key.wrapped, b"there")
    assert repr(key) == repr(DataKey(b"", b""))


async def test_macs_verify_and_depend_on_the_key(tmp_path: Path) -> None:
    kms = LocalKms(tmp_path)
    await kms.ensure(kek_id="k", mac_key_id="m")
    await kms.ensure(kek_id="k", mac_key_id="n")
    mac = await kms.mac("m", b"data")
    assert await kms.verify_mac("m", b"data", mac)
    assert not await kms.verify_mac("m", b"other", mac)
    assert not await kms.verify_mac("n", b"data", mac)
    number = Secret("4242424242424242")
    assert await card_fingerprint(kms, "m", number) == await card_fingerprint(kms, "m", number)
    assert await card_fingerprint(kms, "m", number) != await card_fingerprint(kms, "n", number)


@pytest.mark.parametrize("switch", ["1", "true", "ON", "yes", "anything"])
def test_v16_key_files_refuse_production(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    with pytest.raises(KeyUseError, match="key service"):
        LocalKms(tmp_path / "keys", production=True)
    monkeypatch.setenv("VITRINE_PRODUCTION", switch)
    with pytest.raises(KeyUseError, match="key service"):
        LocalKms(tmp_path / "keys")
    assert not (tmp_path / "keys").exists()
    monkeypatch.setenv("VITRINE_PRODUCTION", "off")
    LocalKms(tmp_path / "keys")


async def test_v8_a_destroyed_key_is_overwritten_and_gone(tmp_path: Path) -> None:
    kms = LocalKms(tmp_path)
    await kms.create(KeyKind.KEK, "k")
    file = tmp_path / "kek-k.key"
    # A second name of the file shows what becomes of its bytes.
    kept = tmp_path / "linked"
    kept.hardlink_to(file)
    before = kept.read_bytes()
    key = await kms.generate_data_key("k", b"context")
    await kms.destroy(KeyKind.KEK, "k")
    assert not file.exists()
    assert kept.read_bytes() != before
    with pytest.raises(KeyUseError):
        await kms.unwrap("k", key.wrapped, b"context")
    await kms.destroy(KeyKind.KEK, "k")


async def test_v8_a_key_of_one_kind_is_none_of_the_other(tmp_path: Path) -> None:
    kms = LocalKms(tmp_path)
    await kms.create(KeyKind.KEK, "k")
    with pytest.raises(KeyUseError, match="missing"):
        await kms.mac("k", b"data")
