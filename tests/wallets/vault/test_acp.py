"""ACP's delegated payment over HTTP (V20, V21), and the token as an allowance."""

from __future__ import annotations

import base64
import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from gateway.kernel.clock import ManualClock, SystemClock, rfc3339
from tests.wallets.vault.agents import CALLERS, Agent, agent, allow, allowances, shop, told
from tests.wallets.vault.apart import issued
from tests.wallets.vault.shop import HOUR_MS, Shop, eur, refused, sql
from wallets.vault.acp import PATH, AcpOptions
from wallets.vault.acp_canonical import canonical
from wallets.vault.acp_signatures import SignatureKey, signature_key
from wallets.vault.credentials import Role
from wallets.vault.embedded import EmbeddedVault
from wallets.vault.http.serving import VaultProcess
from wallets.vault.http.settings import VaultSettings
from wallets.vault.port import AllowanceId, OperationStatus, Payout
from wallets.vault.providers import test_cards

S = OperationStatus

__all__ = ["agent", "shop"]


async def test_v20_a_card_becomes_a_token_with_its_allowance(
    agent: Agent, own_vault: EmbeddedVault, clock: ManualClock
) -> None:
    response = await agent.post(agent.body(), Idempotency_Key="idem-1", Request_Id="req_7")
    assert response.status_code == 201
    body = response.json()
    assert set(body) == {"id", "created", "metadata"}
    assert body["id"].startswith("vt_") and len(body["id"]) == 35
    assert body["created"] == rfc3339(clock.now_ms())
    assert body["metadata"] == {
        "campaign": "q4",
        "merchant_id": "mer_lamps",
        "idempotency_key": "idem-1",
    }
    assert response.headers["Request-Id"] == "req_7"
    assert response.headers["Cache-Control"] == "no-store"
    assert "Idempotent-Replayed" not in response.headers
    found = await own_vault.allowance(AllowanceId.parse(body["id"]))
    assert found is not None
    terms = found.terms
    assert (terms.max_amount, terms.merchant_id, terms.session_id) == (eur(2_000), "mer_lamps", "csn_1")
    assert (terms.reason, terms.max_uses, terms.expires_at_ms) == ("one_time", 1, clock.now_ms() + HOUR_MS)


async def test_v20_the_token_pays_once_inside_its_allowance_and_nowhere_else(
    agent: Agent, own_vault: EmbeddedVault, shop: Shop
) -> None:
    token = (await agent.post(agent.body())).json()["id"]
    found = await own_vault.allowance(AllowanceId.parse(token))
    assert found is not None
    terms = found.terms

    async def pay(amount: int = 2_000, **changes: Any) -> Any:
        request = shop.request(
            terms, eur(amount), customer_id=terms.customer_id, channel="chat", session_id="csn_1"
        )
        return await own_vault.authorize(replace(request, **changes))

    assert refused(await pay(session_id="csn_2")) == "allowance.session_mismatch"
    assert refused(await pay(merchant_id="mer_other")) == "allowance.merchant_mismatch"
    assert refused(await pay(customer_id="cus_ada")) == "allowance.customer_mismatch"
    assert refused(await pay(channel="pos")) == "allowance.channel_mismatch"
    assert refused(await pay(2_001)) == "allowance.amount_exceeded"
    assert (await pay(order_id="ord_77")).status is S.SUCCEEDED
    assert refused(await pay(1)) == "allowance.uses_exceeded"


async def test_v20_no_other_allowance_and_no_payout_reaches_a_delegated_card(
    agent: Agent, own_vault: EmbeddedVault, shop: Shop, tmp_path: Path
) -> None:
    """Not even of a gateway: the holder agreed to one amount, merchant and session."""
    token = (await agent.post(agent.body())).json()["id"]
    found = await own_vault.allowance(AllowanceId.parse(token))
    assert found is not None
    own = replace(
        found.terms,
        allowance_id=shop.ids.new(AllowanceId),
        max_amount=eur(5_000_000),
        merchant_id="mer_other",
        session_id=None,
    )
    request = shop.request(
        own, eur(5_000_000), customer_id=own.customer_id, merchant_id="mer_other", channel="chat"
    )
    assert refused(await own_vault.authorize(request)) == "vault.method_delegated"
    await own_vault.grant(own)
    again = replace(request, operation_id=shop.op())
    assert refused(await own_vault.authorize(again)) == "vault.method_delegated"
    payout = Payout(shop.op(), own.payment_method_id, own.customer_id, "mer_other", "ord_1", eur(1))
    assert refused(await own_vault.payout(payout)) == "vault.method_delegated"
    # A token that was made too late has no allowance, and nobody makes one for it.
    path = tmp_path / "vault" / "vault.db"
    sql(path, "UPDATE vault_delegated_token SET allowance_id = 'vt_late', forget_at_ms = 0")
    late = replace(own, allowance_id=AllowanceId("vt_late"))
    asked = replace(request, operation_id=shop.op(), allowance=late)
    assert refused(await own_vault.authorize(asked)) == "vault.method_delegated"


async def test_the_card_of_a_revoked_token_is_forgotten(
    agent: Agent, own_vault: EmbeddedVault, shop: Shop, tmp_path: Path
) -> None:
    token = AllowanceId.parse((await agent.post(agent.body())).json()["id"])
    found = await own_vault.allowance(token)
    assert found is not None
    await own_vault.revoke(token)
    customer = found.terms.customer_id
    request = shop.request(found.terms, eur(1), customer_id=customer, channel="chat", session_id="csn_1")
    assert refused(await own_vault.authorize(request)) == "allowance.revoked"
    assert await agent.delegated.forgetting.sweep() == 1
    path = tmp_path / "vault" / "vault.db"
    assert sql(path, "SELECT ciphertext IS NULL FROM vault_method") == [(1,)]


async def test_the_card_of_a_used_token_is_forgotten_when_its_authorization_ends(
    agent: Agent, own_vault: EmbeddedVault, shop: Shop, clock: ManualClock, tmp_path: Path
) -> None:
    expires_at = rfc3339(clock.now_ms() + 60 * 24 * HOUR_MS)
    token = AllowanceId.parse((await agent.post(agent.body(allowance__expires_at=expires_at))).json()["id"])
    found = await own_vault.allowance(token)
    assert found is not None
    customer = found.terms.customer_id
    request = shop.request(found.terms, eur(2_000), customer_id=customer, channel="chat", session_id="csn_1")
    result = await own_vault.authorize(request)
    assert result.status is S.SUCCEEDED
    assert result.capture_before_ms is not None
    path = tmp_path / "vault" / "vault.db"
    clock.advance(result.capture_before_ms - clock.now_ms() - 1)
    assert await agent.delegated.forgetting.sweep() == 0
    assert sql(path, "SELECT ciphertext IS NULL FROM vault_method") == [(0,)]
    clock.advance(1)
    assert await agent.delegated.forgetting.sweep() > 0
    assert sql(path, "SELECT ciphertext IS NULL FROM vault_method") == [(1,)]


async def test_v20_the_token_is_invalid_at_its_expiry(
    agent: Agent, own_vault: EmbeddedVault, shop: Shop, clock: ManualClock
) -> None:
    token = (await agent.post(agent.body())).json()["id"]
    found = await own_vault.allowance(AllowanceId.parse(token))
    assert found is not None
    clock.advance(HOUR_MS)
    request = shop.request(
        found.terms, eur(1), customer_id=found.terms.customer_id, channel="web", session_id="csn_1"
    )
    assert refused(await own_vault.authorize(request)) == "allowance.expired"


async def test_v23_tokens_are_random_and_not_derivable(agent: Agent) -> None:
    tokens = {(await agent.post(agent.body())).json()["id"] for _ in range(20)}
    assert len(tokens) == 20
    # 128 bits, no part in common.
    assert all(len({token[start : start + 8] for token in tokens}) == 20 for start in (3, 11, 19, 27))


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"payment_method": None}, "$.payment_method"),
        ({"payment_method__type": "bank"}, "$.payment_method.type"),
        ({"payment_method__number": None}, "$.payment_method.number"),
        ({"payment_method__number": 4242}, "$.payment_method.number"),
        ({"payment_method__exp_month": "13"}, "$.payment_method.exp_month"),
        ({"payment_method__exp_month": "1"}, "$.payment_method.exp_month"),
        ({"payment_method__exp_year": "31"}, "$.payment_method.exp_year"),
        ({"payment_method__cvc": "12345"}, "$.payment_method.cvc"),
        ({"payment_method__iin": "123456789"}, "$.payment_method.iin"),
        ({"payment_method__virtual": "no"}, "$.payment_method.virtual"),
        ({"payment_method__checks_performed": ["avs", "dna"]}, "$.payment_method.checks_performed[1]"),
        ({"payment_method__display_card_funding_type": None}, "$.payment_method.display_card_funding_type"),
        ({"payment_method__display_last4": "42"}, "$.payment_method.display_last4"),
        ({"payment_method__metadata": None}, "$.payment_method.metadata"),
        ({"payment_method__metadata": {"n": 1}}, "$.payment_method.metadata"),
        ({"payment_method__pin": "1234"}, "$.payment_method"),
    ],
)
async def test_v20_a_malformed_card_is_named_by_its_place(
    agent: Agent, change: dict[str, Any], param: str
) -> None:
    assert told(await agent.post(agent.body(**change))) == (400, "invalid_card", param)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"allowance": None}, "$.allowance"),
        ({"allowance__type": "one_time"}, "$.allowance.type"),
        ({"allowance__remaining": 1}, "$.allowance"),
        ({"allowance__reason": "recurring"}, "$.allowance.reason"),
        ({"allowance__max_amount": 1.5}, "$.allowance.max_amount"),
        ({"allowance__max_amount": 0}, "$.allowance.max_amount"),
        ({"allowance__max_amount": "2000"}, "$.allowance.max_amount"),
        ({"allowance__currency": "EUR"}, "$.allowance.currency"),
        ({"allowance__checkout_session_id": None}, "$.allowance.checkout_session_id"),
        ({"allowance__merchant_id": "m" * 257}, "$.allowance.merchant_id"),
        ({"allowance__expires_at": None}, "$.allowance.expires_at"),
        ({"billing_address__country": "GBR"}, "$.billing_address.country"),
        ({"billing_address__city": None}, "$.billing_address.city"),
        ({"risk_signals": []}, "$.risk_signals"),
        ({"risk_signals": [{"type": "other", "score": 1, "action": "authorized"}]}, "$.risk_signals[0].type"),
        ({"metadata": None}, "$.metadata"),
        ({"metadata": {"a": "b" * 513}}, "$.metadata"),
        ({"surprise": 1}, "$"),
    ],
)
async def test_v20_a_malformed_body_is_named_by_its_place(
    agent: Agent, change: dict[str, Any], param: str
) -> None:
    assert told(await agent.post(agent.body(**change))) == (400, "invalid_request", param)


async def test_v20_null_is_not_absent(agent: Agent) -> None:
    body = agent.body()
    body["payment_method"]["iin"] = None
    assert told(await agent.post(body)) == (400, "invalid_card", "$.payment_method.iin")


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"payment_method__number": "4242424242424241"}, "invalid_card", "$.payment_method.number"),
        ({"payment_method__number": "4111111111111111"}, "invalid_card", "$.payment_method.number"),
        ({"payment_method__exp_year": "2019"}, "invalid_card", "$.payment_method.exp_year"),
        ({"payment_method__cvc": "12"}, "invalid_card", "$.payment_method.cvc"),
        ({"payment_method__cvc": None}, "invalid_card", "$.payment_method.cvc"),
        ({"payment_method__exp_month": None}, "invalid_card", "$.payment_method.exp_month"),
        ({"payment_method__card_number_type": "network_token"}, "invalid_card", "$.payment_method.card_number_type"),
        ({"payment_method__number": test_cards.WRONG_SECURITY_CODE}, "invalid_card", None),
        ({"allowance__currency": "xxx"}, "invalid_request", "$.allowance.currency"),
        ({"allowance__expires_at": "tomorrow"}, "invalid_request", "$.allowance.expires_at"),
        ({"allowance__expires_at": "2026-09-21T00:00:00"}, "invalid_request", "$.allowance.expires_at"),
        ({"allowance__expires_at": "2020-01-01T00:00:00Z"}, "invalid_request", "$.allowance.expires_at"),
        ({"allowance__expires_at": "9999-01-01T00:00:00Z"}, "invalid_request", "$.allowance.expires_at"),
        ({"risk_signals": [{"type": "card_testing", "score": 99, "action": "blocked"}]}, "invalid_card", "$.risk_signals"),
        ({"metadata": {"card": "4242-4242 4242 4242"}}, "invalid_card", "$.metadata"),
        ({"allowance__merchant_id": f"m{test_cards.VISA}"}, "invalid_card", "$.allowance.merchant_id"),
    ],
)  # fmt: skip
async def test_v20_what_is_well_formed_and_wrong_is_422(
    agent: Agent, tmp_path: Path, change: dict[str, Any], code: str, param: str | None
) -> None:
    assert told(await agent.post(agent.body(**change))) == (422, code, param)
    assert allowances(tmp_path) == 0


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Authorization": None}, (401, "unauthorized", None)),
        ({"Authorization": "Bearer nobody"}, (401, "unauthorized", None)),
        ({"Idempotency_Key": None}, (400, "idempotency_key_required", None)),
        ({"Idempotency_Key": "k" * 256}, (400, "idempotency_key_required", None)),
        ({"API_Version": None}, (400, "missing_api_version", None)),
        ({"API_Version": "2020-01-01"}, (400, "unsupported_api_version", None)),
        ({"Content_Type": "text/plain"}, (415, "invalid_request", None)),
    ],
)
async def test_v20_headers_are_checked(agent: Agent, headers: dict[str, Any], expected: Any) -> None:
    response = await agent.post(agent.body(), **headers)
    assert told(response) == expected
    if expected[0] == 401:
        assert response.headers["WWW-Authenticate"] == "Bearer"
    if "version" in expected[1]:
        assert "2026-04-17" in response.json()["supported_versions"]


async def test_a_body_that_is_no_json_or_too_large_is_refused(agent: Agent) -> None:
    assert told(await agent.post(b"{")) == (400, "invalid_request", "$")
    assert told(await agent.post(b'{"a":1,"a":2}')) == (400, "invalid_request", "$")
    assert told(await agent.post(b" " * 70_000)) == (413, "invalid_request", None)


async def test_cards_are_forgotten_when_their_last_token_has_ended(
    agent: Agent, own_vault: EmbeddedVault, clock: ManualClock, tmp_path: Path
) -> None:
    await agent.post(agent.body())
    await agent.post(agent.body(allowance__expires_at=rfc3339(clock.now_ms() + 2 * HOUR_MS)))
    path = tmp_path / "vault" / "vault.db"
    clock.advance(HOUR_MS)
    assert await agent.delegated.forgetting.sweep() == 1
    assert sql(path, "SELECT removed_at_ms, ciphertext IS NULL FROM vault_method") == [(None, 0)]
    clock.advance(HOUR_MS)
    assert await agent.delegated.forgetting.sweep() == 1
    assert sql(path, "SELECT removed_at_ms, ciphertext IS NULL FROM vault_method") == [(clock.now_ms(), 1)]
    assert await agent.delegated.forgetting.sweep() == 0


async def test_requests_forget_what_has_ended_now_and_then(
    agent: Agent, clock: ManualClock, tmp_path: Path
) -> None:
    await agent.post(agent.body())
    clock.advance(HOUR_MS)
    await agent.post(agent.body(allowance__checkout_session_id="csn_2"))
    kept = sql(tmp_path / "vault" / "vault.db", "SELECT ciphertext IS NULL FROM vault_method ORDER BY rowid")
    assert kept == [(1,), (0,)]


async def test_v21_nothing_of_the_card_is_kept_in_the_clear(
    agent: Agent, own_vault: EmbeddedVault, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    body = agent.body(payment_method__cvc="937", payment_method__name="Canary Holder")
    await agent.post(body, Idempotency_Key="k")
    await agent.post(agent.body(), Idempotency_Key="k")
    await agent.post(agent.body(payment_method__number="4242424242424241"))
    await own_vault.close()
    data = b"".join(path.read_bytes() for path in (tmp_path / "vault").rglob("*") if path.is_file())
    for canary in (b"4242424242424242", b"4242424242424241", b"Canary Holder", b"1 Chat Road"):
        assert canary not in data
    assert "4242424242424242" not in "".join(capfd.readouterr())
    # Neither does the stored MAC fall to trying: it is keyed.
    import hashlib

    assert hashlib.sha256(canonical(body)).digest() not in data


@pytest.mark.parametrize(
    "number", ["4242 4242 4242 4242", "4242-4242-4242-4242", "４２４２４２４２４２４２４２４２"]
)
async def test_v3_a_number_is_taken_in_plain_digits_only_and_nothing_is_kept_of_another(
    agent: Agent, tmp_path: Path, number: str
) -> None:
    body = agent.body(payment_method__number=number, metadata={"note": test_cards.VISA})
    answer = await agent.post(body, Idempotency_Key=test_cards.VISA)
    assert told(answer) == (422, "invalid_card", "$.payment_method.number")
    assert sql(tmp_path / "vault" / "vault.db", "SELECT count(*) FROM vault_idempotency") == [(0,)]


@pytest.mark.parametrize(
    ("changes", "key", "param"),
    [
        (
            {"allowance__checkout_session_id": "s-４２４２４２４２４２４２４２４２"},
            "k",
            "$.allowance.checkout_session_id",
        ),
        ({"allowance__merchant_id": "5555-5555-5555-4444"}, "k", "$.allowance.merchant_id"),
        ({"metadata": {"other card": "5555 5555 5555 4444 12/31"}}, "k", "$.metadata"),
        ({"metadata": {"5555555555554444": "x"}}, "k", "$.metadata"),
        ({"metadata": {"Card CVC": "123"}}, "k", "$.metadata"),
        ({"metadata": {"cvv2": "123"}}, "k", "$.metadata"),
        ({}, "5555555555554444", "$"),
    ],
)
async def test_v3_no_stored_text_of_a_delegated_payment_holds_a_number_or_code(
    agent: Agent, tmp_path: Path, changes: dict[str, Any], key: str, param: str
) -> None:
    answer = await agent.post(agent.body(**changes), Idempotency_Key=key)
    assert told(answer) == (422, "invalid_card", param)
    assert sql(tmp_path / "vault" / "vault.db", "SELECT count(*) FROM vault_idempotency") == [(0,)]


@pytest.mark.parametrize(
    "text", ["2026-11-22 03:23:07", "1790000000123", "01890a5d-ac96-774b-bcce-b302099a8057", "+43 1 23456789"]
)
async def test_v3_times_and_ids_are_not_taken_for_a_number(agent: Agent, text: str) -> None:
    assert (await agent.post(agent.body(metadata={"note": text}))).status_code == 201


def _signed(key: Any, text: bytes) -> str:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        raw = key.sign(text)
    else:
        r, s = decode_dss_signature(key.sign(text, ec.ECDSA(hashes.SHA256())))
        raw = r.to_bytes(32) + s.to_bytes(32)
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.mark.parametrize("kind", ["ed25519", "es256"])
async def test_v20_a_caller_with_a_key_must_sign_and_say_the_time(
    own_vault: EmbeddedVault, clock: ManualClock, kind: str
) -> None:
    private: Any = (
        ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else ec.generate_private_key(ec.SECP256R1())
    )
    pem = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    keys: dict[str, SignatureKey] = {"agent_one": signature_key(pem)}
    agent = Agent(own_vault.delegated_payments(allow, AcpOptions(signature_keys=keys)), clock)
    body = agent.body()
    signature, now = _signed(private, canonical(body)), rfc3339(clock.now_ms())
    good = {"Signature": signature, "Timestamp": now}
    assert (await agent.post(body, **good)).status_code == 201
    for headers, code in (
        ({"Timestamp": now}, "invalid_signature"),
        ({**good, "Signature": signature[:-4] + "AAAA"}, "invalid_signature"),
        ({**good, "Signature": "not base64!"}, "invalid_signature"),
        ({"Signature": signature}, "invalid_timestamp"),
        ({**good, "Timestamp": rfc3339(clock.now_ms() - 301_000)}, "invalid_timestamp"),
        ({**good, "Timestamp": rfc3339(clock.now_ms() + 301_000)}, "invalid_timestamp"),
    ):
        assert told(await agent.post(body, **headers)) == (401, code, None)
    changed = copy.deepcopy(body)
    changed["allowance"]["max_amount"] = 99_999
    assert told(await agent.post(changed, **good)) == (401, "invalid_signature", None)
    # Another caller has no key here, and needs none.
    assert (await agent.post(body, Authorization="Bearer agent-two")).status_code == 201
    await agent.client.aclose()


def test_only_the_agreed_kinds_of_key_are_taken() -> None:
    pem = (
        ec.generate_private_key(ec.SECP384R1())
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(ValueError, match="P-256"):
        signature_key(pem)


async def test_the_token_is_an_allowance_over_the_vaults_api_too(
    agent: Agent, vault: EmbeddedVault, clock: ManualClock, ids: Any
) -> None:
    token = (await agent.post(agent.body())).json()["id"]
    found = await vault.allowance(AllowanceId.parse(token))
    assert found is not None
    request = Shop(vault, clock, ids).request(
        found.terms, eur(500), customer_id=found.terms.customer_id, channel="chat", session_id="csn_1"
    )
    assert (await vault.authorize(request)).status is S.SUCCEEDED


async def test_a_vault_process_serves_agents_and_no_other_role(tmp_path: Path) -> None:
    process = await VaultProcess.open(VaultSettings(data_dir=tmp_path / "served"))
    transport = httpx.ASGITransport(process.asgi)
    async with httpx.AsyncClient(transport=transport, base_url="http://vault") as client:
        agent = Agent(process.vault.delegated_payments(allow), ManualClock(SystemClock().now_ms()))
        body = agent.body()
        for role, status in ((Role.GATEWAY, 401), (Role.AGENT, 201)):
            headers = {
                "Authorization": f"Bearer {await issued(process.vault, role, role.value)}",
                "API-Version": "2026-04-17",
                "Idempotency-Key": "k",
            }
            response = await client.post(PATH, json=body, headers=headers)
            assert response.status_code == status, response.text
        refused_call = await client.post("/v1/methods", json={"customer_id": "c"}, headers=headers)
        assert refused_call.status_code == 403
        await agent.client.aclose()
    await process.close()


async def test_v9_what_a_sellers_request_forgets_is_on_the_audit_trail_as_its_doing(
    agent: Agent, clock: ManualClock, tmp_path: Path
) -> None:
    await agent.post(agent.body())
    clock.advance(2 * HOUR_MS)
    # The first token has ended; the next request of another seller lets its card be forgotten.
    body = agent.body(allowance__checkout_session_id="csn_2")
    assert (await agent.post(body, Authorization="Bearer agent-two")).status_code == 201
    path = tmp_path / "vault" / "vault.db"
    removed = sql(path, "SELECT actor_role, actor_id FROM vault_audit WHERE action = 'method.remove'")
    assert removed == [("agent", CALLERS["Bearer agent-two"])]
    everybody = sql(path, "SELECT DISTINCT actor_role FROM vault_audit WHERE action LIKE 'method.%'")
    assert everybody == [("agent",)]
