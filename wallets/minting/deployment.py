"""The contract and the keys that may mint on it: set up exactly once, by transactions like any other.

The address of a contract follows from its sender and nonce, so it is known and stored, with the claimed
deployment, before anything is signed. A process that dies at any line leaves rows from which the next one
goes on; there is never a second contract.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, select

from gateway.kernel.store.statements import Statement, insert_into, insert_new
from gateway.kernel.store.unit import Reader, UnitOfWork
from wallets.minting import gas
from wallets.minting.chain.deploy import DEPLOY_GAS, create_address
from wallets.minting.claims import PURCHASE_NUMBERS, LaneKey, insert_tx, take_nonce
from wallets.minting.contract.calls import encode_set_minter
from wallets.minting.model import ContractState, LaneState, TxId, TxKind
from wallets.minting.moves import contract_move, lane_move
from wallets.minting.tables import mint_lane, mint_sequence, token_contract

_INSERT_LANE = insert_new(mint_lane)
_INSERT_SEQUENCE = insert_new(mint_sequence)
_INSERT_CONTRACT = insert_into(token_contract)
_LANE = Statement(select(mint_lane).where(mint_lane.c.lane == bindparam("lane")))
_LANES = Statement(select(mint_lane.c.lane, mint_lane.c.address).order_by(mint_lane.c.lane))
_CONTRACT = Statement(select(token_contract).where(token_contract.c.chain_id == bindparam("chain_id")))
_CONTRACTS = Statement(select(token_contract))
_DEPLOY_AGAIN = contract_move(
    ContractState.FAILED,
    ContractState.DEPLOYING,
    token_contract.c.chain_id == bindparam("chain"),
    address=bindparam("contract"),
    tx_id=bindparam("tx"),
)
_ENABLED_BY_DEPLOYMENT = lane_move(LaneState.NEW, LaneState.ENABLED, mint_lane.c.lane == bindparam("lane_"))
_ENABLING = lane_move(
    LaneState.NEW, LaneState.SENT, mint_lane.c.lane == bindparam("lane_"), tx_id=bindparam("tx")
)


@dataclass(frozen=True, slots=True)
class Contract:
    """The goods contract of a chain."""

    chain_id: int
    address: str
    state: ContractState


def contract_of(reader: Reader, chain_id: int) -> Contract | None:
    """Return the contract of a chain, deployed or on its way."""
    row = reader.row(_CONTRACT, {"chain_id": chain_id})
    return None if row is None else Contract(row.chain_id, row.address, ContractState(row.state))


def contracts(reader: Reader) -> list[Contract]:
    """Return the contracts of all chains this database has minted on."""
    return [Contract(row.chain_id, row.address, ContractState(row.state)) for row in reader.rows(_CONTRACTS)]


def lane_addresses(reader: Reader) -> list[tuple[str, str]]:
    """Return every lane's name and the address of its key."""
    return [(row.lane, row.address) for row in reader.rows(_LANES)]


def prepare_lanes(uow: UnitOfWork, nonces: Mapping[LaneKey, int]) -> None:
    """See that every lane has its row. ``nonces`` are where a key's line starts if it is new here."""
    for lane, nonce in nonces.items():
        row = {"lane": lane.name, "address": lane.address, "next_nonce": nonce, "tx_id": None}
        uow.run(_INSERT_LANE, {**row, "state": LaneState.NEW.value})
    uow.run(_INSERT_SEQUENCE, {"name": PURCHASE_NUMBERS, "next_number": 1})


def deploy_once(uow: UnitOfWork, owner: LaneKey, creation: bytes) -> None:
    """Claim the deployment unless the chain has a contract or one is on its way."""
    known = uow.row(_CONTRACT, {"chain_id": owner.chain_id})
    if known is not None and known.state != ContractState.FAILED:
        return
    nonce = take_nonce(uow, owner)
    address = create_address(owner.address, nonce)
    tx_id = insert_tx(uow, owner, TxKind.DEPLOY, address, creation, DEPLOY_GAS, nonce)
    if known is None:
        row = {"chain_id": owner.chain_id, "address": address, "state": ContractState.DEPLOYING.value}
        uow.run(_INSERT_CONTRACT, {**row, "tx_id": tx_id, "created_at_ms": uow.now_ms})
    else:
        uow.run(_DEPLOY_AGAIN, {"chain": owner.chain_id, "contract": address, "tx": tx_id})


def enable_once(uow: UnitOfWork, owner: LaneKey, contract: str, lanes: Sequence[LaneKey]) -> None:
    """See that every lane's key may mint. The owner's may since the deployment; it allows the others."""
    for lane in lanes:
        row = uow.row(_LANE, {"lane": lane.name})
        assert row is not None, "lanes are prepared first"
        if row.state != LaneState.NEW:
            continue
        if lane == owner:
            uow.run(_ENABLED_BY_DEPLOYMENT, {"lane_": lane.name})
            continue
        calldata = encode_set_minter(lane.address, True)
        tx_id = _claim_enabling(uow, owner, contract, calldata)
        uow.run(_ENABLING, {"lane_": lane.name, "tx": tx_id})


def enabled(reader: Reader, lanes: Sequence[LaneKey]) -> bool:
    """Say whether every lane's key may mint."""
    rows = [reader.row(_LANE, {"lane": lane.name}) for lane in lanes]
    return all(row is not None and row.state == LaneState.ENABLED for row in rows)


def _claim_enabling(uow: UnitOfWork, owner: LaneKey, contract: str, calldata: bytes) -> TxId:
    nonce = take_nonce(uow, owner)
    return insert_tx(uow, owner, TxKind.SET_MINTER, contract, calldata, gas.SET_MINTER, nonce)
