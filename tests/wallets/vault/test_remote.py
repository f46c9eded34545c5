"""The vault behind its API: who may ask, what is refused, and what a broken connection means."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import ConflictError, ErrorClass, InvalidError, UnavailableError
from gateway.kernel.ids import TimeSortedIds
from tests.wallets.vault.apart import ApartVault, apart, issued
from tests.wallets.vault.shop import CUSTOMER, MERCHANT, Shop, card, eur, sql
from wallets.vault import credentials
from wallets.vault import remote as remote_vault
from wallets.vault.credentials import Role
from wallets.vault.embedded import EmbeddedVault
from wallets.vault.http.calls import CALLS
from wallets.vault.port import OperationStatus
from wallets.vault.providers import test_cards
from wallets.vault.providers.port import NoAnswerError
from wallets.vault.remote import RemoteVault


@pytest.fixture
async def remote(own_vault: EmbeddedVault, clock: ManualClock) -> AsyncIterator[ApartVault]:
    async with apart(own_vault, clock) as found:
        yield found


async def asked(url: str, call: str, secret: str = "", document: Any = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    async with httpx.AsyncClient() as client:
        return await client.post(f"{url}/v1/{call}", headers=headers, json=document or {})


@pytest.mark.parametrize("call", sorted(CALLS))
async def test_every_call_needs_a_credential_of_its_role(remote: ApartVault, call: str) -> None:
    assert (await asked(remote.url, call)).status_code == 401
    assert (await asked(remote.url, call, "vvc_" + "A" * 43)).status_code == 401
    for role in Role:
        secret = await issued(remote.vault, role, f"one-{role}")
        status = (await asked(remote.url, call, secret)).status_code
        assert (status != 403) == (role in CALLS[call].roles), (role, call, status)


async def test_v9_a_refused_caller_is_on_the_audit_trail(remote: ApartVault, tmp_path: Any) -> None:
    await asked(remote.url, "authorize")
    await asked(remote.url, "authorize", await issued(remote.vault, Role.AUDITOR, "revision"))
    rows = sql(
        tmp_path / "vault" / "vault.db",
        "SELECT actor_role, actor_id, origin, outcome, object_id FROM vault_audit WHERE action = 'access'",
    )
    assert rows == [
        ("none", "unknown", "127.0.0.1", "credential.required", "authorize"),
        ("auditor", "revision", "127.0.0.1", "credential.role", "authorize"),
    ]


async def test_v9_who_used_a_card_is_on_the_audit_trail(
    remote: ApartVault, shop: Shop, tmp_path: Any
) -> None:
    made = Shop(remote, shop.clock, shop.ids)  # the port is what it uses
    await made.authorized()
    used = sql(
        tmp_path / "vault" / "vault.db",
        "SELECT actor_role, actor_id, origin FROM vault_audit WHERE action = 'method.use'",
    )
    assert used == [("gateway", "tests", "127.0.0.1")]


async def test_auditors_read_the_trail_and_operators_change_the_card_key(
    remote: ApartVault, clock: ManualClock
) -> None:
    secrets = {role: await issued(remote.vault, role, f"one-{role}") for role in Role}
    before = await remote.card_key()
    async with httpx.AsyncClient(base_url=remote.url) as client:
        for role, secret in secrets.items():
            headers = {"Authorization": f"Bearer {secret}"}
            read = await client.get("/v1/audit", headers=headers)
            changed = await client.post("/v1/card-keys", headers=headers)
            assert (read.status_code == 200) == (role in (Role.AUDITOR, Role.OPERATOR))
            assert (changed.status_code == 201) == (role is Role.OPERATOR)
        assert (await client.get("/v1/audit")).status_code == 401
        headers = {"Authorization": f"Bearer {secrets[Role.AUDITOR]}"}
        rows = [
            json.loads(line) for line in (await client.get("/v1/audit", headers=headers)).text.splitlines()
        ]
        assert ("auditor", "audit.read") in {(row["actor_role"], row["action"]) for row in rows}
        assert ("operator", "key.register") in {(row["actor_role"], row["action"]) for row in rows}
        wrong = await client.get("/v1/audit", headers=headers, params={"from": "yesterday"})
        assert (wrong.status_code, wrong.json()["param"]) == (400, "$.from")
    clock.advance(1)
    assert (await remote.card_key()).key_id != before.key_id


async def test_a_credential_is_stored_as_a_digest_and_refused_once_revoked(
    remote: ApartVault, clock: ManualClock, tmp_path: Any
) -> None:
    secret = await issued(remote.vault, Role.GATEWAY, "short-lived")
    assert len(secret) == 4 + 43, "256 random bits"
    other = RemoteVault(remote.url, secret)
    assert await other.methods(CUSTOMER) == []
    (found,) = [one for one in await remote.vault.store.read(credentials.listed) if one.name == "short-lived"]
    assert await remote.vault.store.write(lambda uow: credentials.revoke(uow, found.credential_id))
    clock.advance(3_000)
    with pytest.raises(UnavailableError):
        await other.methods(CUSTOMER)
    await other.close()
    assert not await remote.vault.store.write(lambda uow: credentials.revoke(uow, found.credential_id))
    for file in (tmp_path / "vault").rglob("*"):
        assert not file.is_file() or secret[4:].encode() not in file.read_bytes(), file.name


@pytest.mark.parametrize("name", ["", "Upper", "a" * 65, "a b", "-a", "é"])
async def test_a_credential_has_a_plain_name(own_vault: EmbeddedVault, name: str) -> None:
    with pytest.raises(InvalidError):
        await issued(own_vault, Role.GATEWAY, name)


async def test_v9_a_name_belongs_to_one_credential_at_a_time(own_vault: EmbeddedVault) -> None:
    await issued(own_vault, Role.GATEWAY, "one")
    with pytest.raises(ConflictError, match=r"credential\.name_taken"):
        await issued(own_vault, Role.AGENT, "one")
    (first,) = await own_vault.store.read(credentials.listed)
    await own_vault.store.write(lambda uow: credentials.revoke(uow, first.credential_id))
    await issued(own_vault, Role.GATEWAY, "one")


async def test_what_is_not_a_call_is_a_problem_document(remote: ApartVault) -> None:
    secret = await issued(remote.vault, name="another")
    for call, document, status, code in (
        ("tokenize", {}, 404, "request.unknown"),
        ("no/such", {}, 404, "request.unknown"),
        ("methods", {}, 400, "request.invalid"),
        ("methods", {"customer_id": "cus", "4242424242424242": 1}, 400, "request.invalid"),
        ("methods", {"customer_id": "x" * 300_000}, 413, "request.too_large"),
    ):
        answer = await asked(remote.url, call, secret, document)
        assert answer.headers["content-type"] == "application/problem+json"
        told = answer.json()
        assert (answer.status_code, told["status"], told["code"]) == (status, status, code)
        assert told["type"] == f"urn:vitrine:vault:{code}"
        assert "4242" not in answer.text
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{remote.url}/v1/methods")).status_code in (400, 404)


async def test_errors_arrive_as_the_vault_raised_them(remote: ApartVault) -> None:
    with pytest.raises(InvalidError) as caught:
        await remote.tokenize(CUSTOMER, card(test_cards.WRONG_SECURITY_CODE))
    error = caught.value
    assert (error.code, error.data) == ("card.declined", {"network_code": "N7", "decline_class": "fix_data"})
    assert error.error_class is ErrorClass.FIX
    with pytest.raises(InvalidError) as caught:
        await remote.tokenize(CUSTOMER, card("4242424242424241"))
    assert (caught.value.code, caught.value.param) == ("card.invalid", "$.number")


async def test_a_card_in_the_clear_does_not_leave_the_gateway(remote: ApartVault) -> None:
    with pytest.raises(InvalidError) as caught:
        await RemoteVault.tokenize(remote, CUSTOMER, card())
    assert caught.value.code == "card_entry.hosted"


async def test_a_surprise_in_the_vault_leaves_the_outcome_open_and_says_nothing(
    remote: ApartVault, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken(*_: Any) -> Any:
        raise RuntimeError("4242424242424242")

    monkeypatch.setattr(remote.vault.store, "read", broken)
    with pytest.raises(UnavailableError) as caught:
        await remote.methods(CUSTOMER)
    assert caught.value.code == "vault.unavailable"
    printed = capsys.readouterr()
    assert "4242424242424242" not in printed.out + printed.err
    assert "RuntimeError" in printed.out + printed.err


async def test_many_calls_at_once_share_few_connections(remote: ApartVault, shop: Shop) -> None:
    found = await asyncio.gather(*(remote.methods(CUSTOMER) for _ in range(500)))
    assert found == [[]] * 500
    assert len(remote._connections._free) <= 64


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


@contextlib.asynccontextmanager
async def answering(*answers: bytes | None) -> AsyncIterator[tuple[RemoteVault, list[bytes]]]:
    """A server that reads one request per connection and says what it is told; None: nothing at all."""
    plan, heard = list(answers), []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"}"))
        said = plan.pop(0) if plan else None
        if said is None:
            await asyncio.sleep(30)
        else:
            writer.write(said)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    remote = RemoteVault(f"http://127.0.0.1:{port}", "vvc_x", deadline_ms=300)
    try:
        yield remote, heard
    finally:
        await remote.close()
        server.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n[",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nnothing",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n[{}]",
        b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\n<html>",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ],
)
async def test_whatever_is_not_an_answer_leaves_the_outcome_open(said: bytes) -> None:
    async with answering(said, said) as (remote, _):
        with pytest.raises(UnavailableError) as caught:
            await remote.methods(CUSTOMER)
        assert caught.value.code == "vault.unavailable"
        assert caught.value.error_class is ErrorClass.RETRY


async def test_a_silent_vault_is_given_up_at_the_deadline_and_not_asked_twice() -> None:
    async with answering(None, OK) as (remote, heard):
        started = asyncio.get_running_loop().time()
        with pytest.raises(UnavailableError):
            await remote.methods(CUSTOMER)
        assert asyncio.get_running_loop().time() - started < 2
        assert len(heard) == 1


async def test_a_broken_connection_is_tried_once_more_with_the_same_request() -> None:
    async with answering(b"", OK) as (remote, heard):
        assert await remote.methods(CUSTOMER) == []
        assert len(heard) == 2
        assert heard[0] == heard[1]


async def test_an_encrypted_card_is_sent_once() -> None:
    async with answering(b"", OK) as (remote, heard):
        with pytest.raises(UnavailableError):
            await remote.store_sealed_card(CUSTOMER, "a.b.c.d.e")
        assert len(heard) == 1


async def test_nobody_there_is_unavailable() -> None:
    remote = RemoteVault("http://127.0.0.1:9", "vvc_x", deadline_ms=500)
    with pytest.raises(UnavailableError):
        await remote.methods(CUSTOMER)


async def test_an_answer_that_comes_after_its_caller_left_is_nobody_elses(
    remote: ApartVault, shop: Shop
) -> None:
    """A connection whose caller gave up is dropped, so the late answer can not be taken for the next one's."""
    made = Shop(remote, shop.clock, shop.ids)  # the port is what it uses
    method = await made.method()
    for _ in range(30):
        request = made.request(made.terms(method, eur(1)), eur(1))
        waiting = asyncio.create_task(remote.authorize(request))
        await asyncio.sleep(0.002)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert await remote.methods(CUSTOMER) == [method]
        assert (await remote.authorize(request)).status is OperationStatus.SUCCEEDED
    assert made.request(made.terms(method, eur(1)), eur(1)).merchant_id == MERCHANT


@pytest.mark.parametrize("url", ["ftp://x", "no address", "http://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not an address"):
        RemoteVault(url, "x")


def test_a_credential_with_a_line_break_is_refused() -> None:
    with pytest.raises(ValueError, match="line break"):
        RemoteVault("http://127.0.0.1:1", "x\r\nInjected: y")


async def test_calls_that_wait_for_a_provider_leave_room_for_those_that_do_not(
    own_vault: EmbeddedVault, clock: ManualClock, ids: TimeSortedIds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kind has connections of its own, so a full one keeps nobody of the other kind waiting."""
    monkeypatch.setattr(remote_vault, "_MOST_TO_PROVIDERS", 2)
    silent = asyncio.Event()

    async def answers_late(_: Any) -> Any:
        await silent.wait()
        raise NoAnswerError("late")

    async with apart(own_vault, clock) as remote:
        shop = Shop(remote, clock, ids)  # the port is what it uses
        method = await shop.method()
        monkeypatch.setattr(own_vault.acquirer, "authorize", answers_late)
        requests = [shop.request(shop.terms(method, eur(1)), eur(1)) for _ in range(4)]
        waiting = [asyncio.create_task(remote.authorize(request)) for request in requests]
        async with asyncio.timeout(2):
            while len(await known_of(own_vault)) < 2:
                await asyncio.sleep(0.01)
            # Both connections to providers are taken; two calls wait for one. The vault's own answers do not.
            for _ in range(20):
                assert await remote.methods(CUSTOMER) == [method]
                assert await remote.allowance(requests[3].allowance.allowance_id) is None
        assert len(await known_of(own_vault)) == 2
        silent.set()
        results = await asyncio.gather(*waiting)
        assert {one.status for one in results} == {OperationStatus.UNKNOWN}


async def known_of(vault: EmbeddedVault) -> list[Any]:
    return list((await vault.operations_since("", 100)).operations)
