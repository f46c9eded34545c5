"""The code in docs/worlds.md that checks a notice's signature does what the text beside it says."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.webhooks.signing import SigningKeys, signed_headers
from tests.documents.tables import ROOT

BODY = '{"type":"item.granted","data":{"seq":1,"title":"Möbel"}}'.encode()
Check = Callable[[dict[str, str], bytes, list[str]], bool]


@pytest.fixture
def is_genuine() -> Check:
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/worlds.md").read_text(), re.DOTALL)
    names: dict[str, Check] = {}
    exec(compile(snippet, "docs/worlds.md", "exec"), names)
    return names["is_genuine"]


@pytest.fixture
def keys(tmp_path: Path) -> SigningKeys:
    opened = SigningKeys.open(tmp_path)
    opened.rotate()
    return opened


def _headers(keys: SigningKeys, *, late_s: float = 0) -> dict[str, str]:
    return dict(signed_headers(keys.signing(), "ntc_1", BODY, round((time.time() - late_s) * 1000)))


def test_a_notice_with_two_signatures_is_taken_with_either_key_or_both(
    is_genuine: Check, keys: SigningKeys
) -> None:
    new, old = (key.public for key in keys.current())
    headers = _headers(keys)
    assert headers["webhook-signature"].count("v1a,") == 2
    for trusted in ([new], [old], [new, old], [old, new]):
        assert is_genuine(headers, BODY, trusted)
    assert keys.retire() is not None
    assert is_genuine(_headers(keys), BODY, [old, new])


def test_what_was_changed_is_old_or_has_no_known_signature_is_refused(
    is_genuine: Check, keys: SigningKeys, tmp_path: Path
) -> None:
    trusted = [key.public for key in keys.current()]
    headers = _headers(keys)
    stranger = SigningKeys.open(tmp_path / "stranger").current()[0].public
    assert not is_genuine(headers, BODY + b" ", trusted)
    assert not is_genuine(headers, BODY, [stranger])
    assert not is_genuine(headers, BODY, [])
    assert not is_genuine({**headers, "webhook-id": "ntc_2"}, BODY, trusted)
    assert not is_genuine(
        {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) - 1)}, BODY, trusted
    )
    assert not is_genuine({**headers, "webhook-timestamp": "soon"}, BODY, trusted)
    for wrong in ("", "v1a,", "v1a,????", "v1a,AAAA", headers["webhook-signature"].replace("v1a,", "v1,")):
        assert not is_genuine({**headers, "webhook-signature": wrong}, BODY, trusted)
    assert not is_genuine({}, BODY, trusted)


def test_a_notice_is_good_for_five_minutes(is_genuine: Check, keys: SigningKeys) -> None:
    trusted = [key.public for key in keys.current()]
    assert is_genuine(_headers(keys, late_s=290), BODY, trusted)
    assert not is_genuine(_headers(keys, late_s=310), BODY, trusted)
    assert not is_genuine(_headers(keys, late_s=-310), BODY, trusted)
