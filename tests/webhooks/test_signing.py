"""Signatures of Standard Webhooks, and the files that hold the keys."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.kernel.errors import UnavailableError
from gateway.webhooks.signing import SigningKey, SigningKeys, parse_private, signed_headers


def _verifies(public: str, signature: str, content: bytes) -> bool:
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_")))
    try:
        key.verify(base64.b64decode(signature.removeprefix("v1a,")), content)
    except InvalidSignature:
        return False
    return True


def test_a_known_vector_of_the_standard() -> None:
    """From the Go library of Standard Webhooks (webhook_asymmetric_test.go)."""
    key = SigningKey(1, parse_private("whsk_VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk="))
    headers = dict(
        signed_headers([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', 1_614_265_330_999)
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1a,tQ9V2XOqn7jL/DQenEFpqIugdBVtiMmER5mhSkXBNwM0mkATuDe6KYYUuxqtaiHeYGb7KaaBRdM5"
        "WqyeFiL8Ag==",
    }


def test_id_timestamp_and_body_are_all_signed(tmp_path: Path) -> None:
    (key,) = SigningKeys.open(tmp_path).current()
    headers = dict(signed_headers([key], "ntc_1", b"{}", 5_000))
    signature = headers["webhook-signature"]
    assert _verifies(key.public, signature, b"ntc_1.5.{}")
    for changed in (b"ntc_2.5.{}", b"ntc_1.6.{}", b"ntc_1.5.{ }"):
        assert not _verifies(key.public, signature, changed)


def test_while_keys_are_changed_either_public_key_checks(tmp_path: Path) -> None:
    keys = SigningKeys.open(tmp_path)
    (old,) = keys.current()
    new = keys.rotate()
    running = SigningKeys(tmp_path)
    assert [key.number for key in running.current()] == [2, 1]
    signatures = dict(signed_headers(running.current(), "n", b"x", 0))["webhook-signature"].split()
    assert len(signatures) == 2
    for public in (old.public, new.public):
        assert sum(_verifies(public, signature, b"n.0.x") for signature in signatures) == 1
    retired = keys.retire()
    assert retired is not None and retired.number == 1
    assert [key.public for key in running.current()] == [new.public], "seen without a restart"
    assert keys.retire() is None, "the only key stays"


def test_key_files_are_the_owners_alone_and_stay_the_same(tmp_path: Path) -> None:
    first = SigningKeys.open(tmp_path / "keys").current()
    again = SigningKeys.open(tmp_path / "keys").current()
    assert [key.public for key in first] == [key.public for key in again]
    (file,) = (tmp_path / "keys").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().startswith("whsk_") and file.read_text().strip() not in repr(first)


@pytest.mark.parametrize("text", ["", "whsk_", "whsk_AAAA", "whsk_*", "whpk_" + "A" * 44])
def test_a_key_file_that_is_damaged_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "webhook-1.key").write_text(text)
    with pytest.raises(UnavailableError) as refused:
        SigningKeys(tmp_path).current()
    assert refused.value.code == "webhook.key_unreadable"


def test_nothing_is_sent_without_a_signature(tmp_path: Path) -> None:
    keys = SigningKeys.open(tmp_path)
    (tmp_path / "webhook-1.key").unlink()
    with pytest.raises(UnavailableError) as refused:
        keys.signing()
    assert refused.value.code == "webhook.key_unreadable"
