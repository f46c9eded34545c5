from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.kernel.errors import UnavailableError
from wallets.custody.kms import LocalKeyFile, write_private_file
from wallets.custody.sealed_seed import KEY_FILE, SEED_FILE, SealedSeed


def test_the_seed_is_made_once_and_read_again(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    first = SealedSeed.open(keys)
    assert SealedSeed.open(keys).reveal() == first.reveal()
    assert len(first.reveal()) == 64


def test_only_the_owner_may_read_the_files(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    SealedSeed.open(keys)
    assert sorted(path.name for path in keys.iterdir()) == [KEY_FILE, SEED_FILE]
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    for name in (KEY_FILE, SEED_FILE):
        assert stat.S_IMODE((keys / name).stat().st_mode) == 0o600


def test_the_seed_is_in_no_file_and_not_printed(tmp_path: Path) -> None:
    seed = SealedSeed.open(tmp_path)
    for path in tmp_path.iterdir():
        assert seed.reveal() not in path.read_bytes()
    assert seed.reveal().hex() not in repr(seed)


def test_a_seed_without_its_key_is_an_error_and_never_replaced(tmp_path: Path) -> None:
    SealedSeed.open(tmp_path)
    sealed = (tmp_path / SEED_FILE).read_bytes()
    (tmp_path / KEY_FILE).unlink()
    with pytest.raises(UnavailableError, match=r"custody\.key_missing"):
        SealedSeed.open(tmp_path)
    assert (tmp_path / SEED_FILE).read_bytes() == sealed
    assert not (tmp_path / KEY_FILE).exists()


def test_a_key_without_its_seed_seals_a_new_one(tmp_path: Path) -> None:
    # What a crash between the two files leaves behind.
    LocalKeyFile.create(tmp_path / KEY_FILE)
    assert SealedSeed.open(tmp_path).reveal() == SealedSeed.open(tmp_path).reveal()


@pytest.mark.parametrize("change", ["flip", "version", "key_id", "cut", "other_key"])
def test_a_changed_seed_file_does_not_open(tmp_path: Path, change: str) -> None:
    SealedSeed.open(tmp_path)
    path = tmp_path / SEED_FILE
    document = json.loads(path.read_text())
    match change:
        case "flip":
            last = document["wrapped"][20]
            document["wrapped"] = document["wrapped"].replace(last, "A" if last != "A" else "B", 1)
        case "version":
            document["version"] = 2
        case "key_id":
            document["key_id"] = "file:other.key"
        case "cut":
            document.pop("wrapped")
        case "other_key":
            (tmp_path / KEY_FILE).write_bytes(bytes(32))
    path.write_text(json.dumps(document))
    with pytest.raises(UnavailableError, match=r"custody\.seed_unreadable"):
        SealedSeed.open(tmp_path)


def test_of_many_that_create_a_file_at_once_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "one"
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda index: write_private_file(path, bytes([index])), range(8)))
    assert won.count(True) == 1
    assert path.read_bytes() == bytes([won.index(True)])
    assert [child.name for child in tmp_path.iterdir()] == ["one"]


def test_many_first_starts_at_once_agree_on_the_seed(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        seeds = list(pool.map(lambda _: SealedSeed.open(tmp_path).reveal(), range(8)))
    assert len(set(seeds)) == 1
