"""A credential's name is one caller's at a time, also when several processes issue it at one moment."""

from __future__ import annotations

import asyncio
from functools import partial

from gateway.kernel.errors import ConflictError
from gateway.kernel.store.unit import UnitOfWork
from tests.wallets.vault.two_databases import Books, books
from wallets.vault.credentials import Caller, Role, digest, issue, listed, new_secret, revoke

__all__ = ["books"]


def issued(uow: UnitOfWork, *, secret_digest: bytes) -> Caller:
    return issue(uow, secret_digest, Role.GATEWAY, "till")


async def at_once(books: Books, times: int) -> list[Caller | BaseException]:
    units = [partial(issued, secret_digest=digest(new_secret())) for _ in range(times)]
    return await asyncio.gather(*(books.store().write(unit) for unit in units), return_exceptions=True)


async def test_of_credentials_issued_at_one_moment_one_has_the_name(books: Books) -> None:
    results = await at_once(books, 12)
    (made,) = [one for one in results if isinstance(one, Caller)]
    refused = [one for one in results if isinstance(one, ConflictError)]
    assert {one.code for one in refused} == {"credential.name_taken"}
    assert len(refused) == 11
    # Free again once it is revoked, and kept on the list.
    assert await books.store().write(lambda uow: revoke(uow, made.credential_id))
    assert len([one for one in await at_once(books, 4) if isinstance(one, Caller)]) == 1
    assert [one.name for one in await books.store().read(listed)] == ["till", "till"]
