"""Contracts that merchants deployed themselves, and which editions are minted on them.

The guarantee is weaker than on our own contract, which remembers every purchase number. Here a mint is a
transaction of its own, and exactly once rests on its nonce: it is settled by the receipt of that nonce at the
configured depth, and tried again only when that receipt says that nothing happened.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import bindparam, select

from gateway.kernel.documents import decode, encode
from gateway.kernel.errors import ConflictError, InvalidError
from gateway.kernel.store.statements import Statement, insert_into
from gateway.kernel.store.unit import Reader, UnitOfWork
from wallets.minting.model import OwnContractId
from wallets.minting.own_calls import CallDescription, Literal, describe
from wallets.minting.tables import own_contract, token_contract

_BY_NAME = Statement(
    select(own_contract).where(
        own_contract.c.merchant_id == bindparam("merchant_id"), own_contract.c.name == bindparam("name")
    )
)
_OTHER_OWNER = Statement(
    select(own_contract.c.merchant_id).where(
        own_contract.c.chain_id == bindparam("chain_id"),
        own_contract.c.address == bindparam("address"),
        own_contract.c.merchant_id != bindparam("merchant_id"),
    )
)
_AT = Statement(
    select(own_contract.c.address)
    .where(own_contract.c.chain_id == bindparam("chain_id"), own_contract.c.address == bindparam("address"))
    .limit(1)
)
_OURS = Statement(select(token_contract.c.chain_id, token_contract.c.address))
_ALL = Statement(select(own_contract).order_by(own_contract.c.merchant_id, own_contract.c.name))
_INSERT = insert_into(own_contract)
_CHANGE = Statement(
    own_contract.update()
    .where(own_contract.c.contract_id == bindparam("its"))
    .values(
        call=bindparam("call"),
        arguments=bindparam("arguments"),
        data=bindparam("data"),
        gas=bindparam("gas"),
        updated_at_ms=bindparam("at"),
    )
)


class OwnContract(NamedTuple):
    """A merchant's contract as it is declared. ``gas`` limits one mint; None: the usual limit."""

    merchant_id: str
    name: str
    chain_id: int
    address: str
    description: CallDescription
    gas: int | None = None


class ContractRefusedError(ConflictError):
    """A declared contract cannot be taken. ``field`` is the part of its declaration that is wrong."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__("mint.contract_refused", message, data={"field": field})
        self.field = field


def check_contract(reader: Reader, declared: OwnContract) -> Any | None:
    """Return the row of a merchant's contract if it is known, None for a new one.

    What tokens there are depends on stays for ever: chain, address, standard and who chooses the ids.
    Raises ContractRefusedError for a change of these, for a chain that is not this installation's, and for
    an address that is ours or another merchant's: our keys may mint there for that merchant alone.
    """
    known = reader.row(_BY_NAME, {"merchant_id": declared.merchant_id, "name": declared.name})
    ours = reader.rows(_OURS)
    if ours and declared.chain_id not in {row.chain_id for row in ours}:
        chains = ", ".join(str(row.chain_id) for row in ours)
        raise ContractRefusedError("chain_id", f"this installation mints on chain {chains}")
    if any(row.address.lower() == declared.address.lower() for row in ours):
        raise ContractRefusedError("address", "is this installation's own contract")
    place = {"chain_id": declared.chain_id, "address": declared.address}
    if reader.row(_OTHER_OWNER, {**place, "merchant_id": declared.merchant_id}) is not None:
        raise ContractRefusedError("address", "is another merchant's contract")
    if known is None:
        return None
    its = declared.description
    before = contract_from(known)
    for field, was, now in (
        ("chain_id", before.chain_id, declared.chain_id),
        ("address", before.address, declared.address),
        ("standard", before.description.standard, its.standard),
    ):
        if was != now:
            raise ContractRefusedError(
                field, f"was {was} and cannot change; give the new contract another name"
            )
    if before.description.names_id != its.names_id:
        raise ContractRefusedError(
            "arguments", "who chooses the ids of tokens cannot change; give the contract another name"
        )
    return known


def put_contract(uow: UnitOfWork, declared: OwnContract) -> str:
    """Make a merchant's contract known, or change its call; return its id. Errors as `check_contract`."""
    known = check_contract(uow, declared)
    its = declared.description
    call = {
        "call": its.call,
        "arguments": encode([_written(one) for one in its.arguments]),
        "data": its.data,
        "gas": declared.gas,
    }
    if known is None:
        contract_id = uow.new_id(OwnContractId)
        names = {"contract_id": contract_id, "merchant_id": declared.merchant_id, "name": declared.name}
        uow.run(
            _INSERT,
            {
                **names,
                "chain_id": declared.chain_id,
                "address": declared.address,
                "standard": its.standard.value,
                **call,
                "updated_at_ms": uow.now_ms,
            },
        )
        return contract_id
    if any(getattr(known, name) != value for name, value in call.items()):
        uow.run(_CHANGE, {"its": known.contract_id, **call, "at": uow.now_ms})
    return str(known.contract_id)


def contract_id_of(reader: Reader, merchant_id: str, name: str) -> str:
    """Return the id of a merchant's contract. Raises InvalidError ``mint.contract_unknown``."""
    row = reader.row(_BY_NAME, {"merchant_id": merchant_id, "name": name})
    if row is None:
        raise InvalidError(
            "mint.contract_unknown",
            f"The contract {name} is not known here: import the merchant's folder again.",
        )
    return str(row.contract_id)


def is_own_contract(reader: Reader, chain_id: int, address: str) -> bool:
    """Whether some merchant's tokens are minted by a contract at this checksummed address."""
    return reader.row(_AT, {"chain_id": chain_id, "address": address}) is not None


def own_contracts(reader: Reader) -> list[OwnContract]:
    """Return the contracts of all merchants."""
    return [contract_from(row) for row in reader.rows(_ALL)]


def contract_from(row: Any) -> OwnContract:
    """Return the contract a row holds."""
    description = describe(row.standard, row.call, decode(row.arguments), bytes(row.data))
    return OwnContract(row.merchant_id, row.name, row.chain_id, row.address, description, row.gas)


def _written(argument: Literal) -> Literal:
    """A number as text: JSON readers elsewhere keep 53 bits of it."""
    return str(argument) if isinstance(argument, int) and not isinstance(argument, bool) else argument
