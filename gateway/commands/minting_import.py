"""What an import says of minting: merchants' own contracts, and the gas of their mints."""

from __future__ import annotations

from gateway.catalog.problems import CatalogInvalidError, Problem
from gateway.catalog.reports import ImportReport
from gateway.kernel.store.unit import UnitOfWork
from wallets.minting.budget import set_gas_limit
from wallets.minting.own_contracts import ContractRefusedError, check_contract, put_contract


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
