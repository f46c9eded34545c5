"""What became of a mint on a merchant's own contract: its receipt and the events in it say so.

Such a contract cannot be asked whether a purchase was minted. What is known is weaker: a nonce carries one
transaction, a transaction one mint, and the receipt of that nonce, in a block of the chain as deep as the
settings ask, says whether a token was made for the recipient (settled), whether the call was reverted and
nothing happened (tried again, a few times), or neither: then a second try could make a second token, and the
mint is parked for a person. How many endpoints must say so is the chain client's rule: one that says
"succeeded" outweighs those that say "reverted", which is the safe side here.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, select

from gateway.kernel.documents import decode
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Store
from wallets.minting.chain.port import ChainClient, Receipt
from wallets.minting.contract.own_tokens import minted_id
from wallets.minting.model import MintState, SkipCode
from wallets.minting.own_calls import describe
from wallets.minting.records import MINT_COLUMNS, TxView, Verdict
from wallets.minting.tables import mint, own_contract, token_item

MOST_ATTEMPTS = 3
"""How often a mint or a return that the contract left out for a passing reason is tried in all."""

REVERTED = "reverted"
NO_EVENT = "no event of a new token"
"""Why a mint is parked whose call succeeded."""

_MINTS = Statement(
    select(
        *MINT_COLUMNS,
        own_contract.c.standard,
        own_contract.c.call,
        own_contract.c.arguments,
        own_contract.c.data,
    )
    .select_from(
        mint.join(token_item, token_item.c.item_number == mint.c.item_number).join(
            own_contract, own_contract.c.contract_id == token_item.c.own_contract_id
        )
    )
    .where(mint.c.tx_id == bindparam("tx"))
)


class OwnTokens:
    """Judges the mints of one lane on merchants' contracts."""

    def __init__(self, client: ChainClient, store: Store) -> None:
        self._client = client
        self._store = store

    async def stands(self, receipt: Receipt) -> bool:
        """Say whether the receipt's block is one of the present chain: nodes were seen to show others'."""
        return await self._client.block_hash(receipt.block_number) == receipt.block_hash

    async def minted(self, tx: TxView, receipt: Receipt | None) -> tuple[list[Any], list[bool]]:
        """Return the mint of a transaction, with its token's id out of the event, and whether it was minted.

        One that was told as minted with another id, in a block that is gone, counts as not minted: the order
        must hear of the new id.
        """
        found = await self._store.read(lambda reader: reader.rows(_MINTS, {"tx": tx.tx_id}))
        rows, flags = [], []
        for row in found:
            made = None if receipt is None or not receipt.succeeded else _made(tx, row, receipt)
            moved = row.state == MintState.MINTED and made is not None and row.token_id != str(made)
            rows.append(row if made is None or moved else row._replace(token_id=str(made)))
            flags.append(made is not None and not moved)
        return rows, flags

    def verdict(self, mints: list[Any], flags: list[bool], failure: str | None) -> Verdict:
        """Return what becomes of the mint of an ended transaction."""
        verdict = Verdict()
        for row, flag in zip(mints, flags, strict=True):
            if flag:
                verdict.done.append(row)
            elif failure != REVERTED:
                verdict.parked.append(row)
            elif row.attempts + 1 < MOST_ATTEMPTS:
                verdict.again.append(row)
            else:
                verdict.refused.append((row, SkipCode.CALL_REVERTED))
        return verdict


def _made(tx: TxView, row: Any, receipt: Receipt) -> int | None:
    description = describe(row.standard, row.call, decode(row.arguments), bytes(row.data))
    return minted_id(
        receipt.logs,
        description.standard,
        tx.contract,
        row.recipient,
        token_id=int(row.token_id) if description.names_id else None,
        amount=row.amount,
    )
