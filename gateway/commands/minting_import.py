"""What an import says of minting: merchants' own contracts, and the gas of their mints."""

from __future__ import annotations

import asyncio
from typing import Protocol

from gateway.catalog.prepared import PreparedImport
from gateway.catalog.problems import CatalogInvalidError, Problem
from gateway.catalog.reports import ImportReport
from gateway.kernel.errors import VitrineError
from gateway.kernel.store.unit import UnitOfWork
from wallets.minting.budget import set_gas_limit
from wallets.minting.own_contracts import ContractRefusedError, check_contract, put_contract

_WITHIN_S = 10.0


class ContractChain(Protocol):
    """The chain that is minted on."""

    async def code(self, address: str) -> bytes:
        """The code at an address. Raises a VitrineError without an answer."""
        ...


async def look_for_contracts(
    prepared: PreparedImport, chain: ContractChain, chain_id: int | None
) -> list[Problem]:
    """Check that merchants' own contracts are on the chain; returns a warning for each that was not seen.

    Without code there, every mint would be paid for and never be. Raises CatalogInvalidError. Contracts on
    another chain are left to `take_minting`.
    """
    problems: list[Problem] = []
    warnings: list[Problem] = []
    for merchant in prepared.merchants:
        for index, its in enumerate(merchant.declaration.minting.contracts):
            if its.chain_id != chain_id:
                continue
            try:
                async with asyncio.timeout(_WITHIN_S):
                    has_code = bool(await chain.code(its.address))
            except (VitrineError, TimeoutError):
                message = f"was not looked for: chain {its.chain_id} does not answer"
                warnings.append(merchant.contract_problem(index, "address", message))
                continue
            if not has_code:
                message = f"there is no contract at {its.address} on chain {its.chain_id}"
                problems.append(merchant.contract_problem(index, "address", message))
    if problems:
        raise CatalogInvalidError(problems)
    return warnings


def take_minting(uow: UnitOfWork, report: ImportReport) -> None:
    """Write contracts and limits, after all of them are found good. Raises CatalogInvalidError."""
    problems: list[Problem] = []
    owners: dict[tuple[int, str], str] = {}
    for its in report.contracts:
        declared = its.contract
        place = (declared.chain_id, declared.address.lower())
        if owners.setdefault(place, declared.merchant_id) != declared.merchant_id:
            problems.append(its.problem("address", "is another merchant's contract"))
            continue
        try:
            check_contract(uow, declared)
        except ContractRefusedError as refused:
            problems.append(its.problem(refused.field, refused.message))
    if problems:
        raise CatalogInvalidError(problems)
    for its in report.contracts:
        put_contract(uow, its.contract)
    for limit in report.gas_limits:
        set_gas_limit(uow, limit.merchant_id, limit.per_day)
