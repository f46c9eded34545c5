"""A device proves that it holds a key, for one payment and a few minutes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey

from gateway.identity.device_proof import TYPE, device_key_of
from gateway.kernel.errors import InvalidError

NOW_S = 1_800_000_000
CLAIMS = {"allowance_id": "alw_1", "sub": "quo_1", "iat": NOW_S}
KEY = ECKey.generate_key("P-256")


def proof(
    key: Any = KEY, *, header: dict[str, Any] | None = None, claims: Any = None, algorithm: str = "ES256"
) -> str:
    own = {"typ": TYPE, "alg": algorithm, "jwk": key.as_dict(private=False), **(header or {})}
    text = json.dumps(CLAIMS if claims is None else claims)
    return jws.serialize_compact(own, text, key, algorithms=[algorithm])


def read(text: str, now_s: int = NOW_S) -> str:
    return device_key_of(text, allowance_id="alw_1", subject="quo_1", now_ms=now_s * 1000)


@pytest.mark.parametrize(("key", "algorithm"), [(KEY, "ES256"), (OKPKey.generate_key("Ed25519"), "Ed25519")])
def test_the_thumbprint_is_that_of_the_key_that_signed(key: Any, algorithm: str) -> None:
    assert read(proof(key, algorithm=algorithm)) == key.thumbprint()


def test_a_proof_is_good_for_five_minutes_and_a_clock_may_run_ten_seconds_ahead() -> None:
    text = proof()
    for now_s in (NOW_S - 10, NOW_S + 300):
        assert read(text, now_s) == KEY.thumbprint()
    for now_s in (NOW_S - 11, NOW_S + 301):
        with pytest.raises(InvalidError):
            read(text, now_s)


@pytest.mark.parametrize("iat", [10**400, -(10**400), 2**53])
def test_a_time_that_no_clock_shows_is_refused(iat: int) -> None:
    with pytest.raises(InvalidError) as refused:
        read(proof(claims={**CLAIMS, "iat": iat}))
    assert refused.value.code == "device_proof.invalid"


@pytest.mark.parametrize(
    "changes",
    [
        {"allowance_id": "alw_2"},
        {"sub": "quo_2"},
        {"iat": str(NOW_S)},
        {"iat": None},
        {"iat": True},
    ],
)
def test_a_proof_for_something_else_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidError) as refused:
        read(proof(claims={**CLAIMS, **changes}))
    assert refused.value.code == "device_proof.invalid"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b.c",
        "é.ü.ß",
        proof()[:-6] + "AAAAAA",
        proof(header={"typ": "JWT"}),
        proof(header={"jwk": ECKey.generate_key("P-256").as_dict(private=False)}),
        proof(header={"jwk": KEY.as_dict(private=True)}),
        proof(claims=[]),
        proof(claims={}),
        jws.serialize_compact(
            {"typ": TYPE, "alg": "HS256", "jwk": KEY.as_dict(private=False)},
            json.dumps(CLAIMS),
            OctKey.import_key(b"0123456789abcdef0123456789abcdef"),
            algorithms=["HS256"],
        ),
    ],
)
def test_what_is_no_proof_is_refused(text: str) -> None:
    with pytest.raises(InvalidError) as refused:
        read(text)
    assert refused.value.code == "device_proof.invalid"
