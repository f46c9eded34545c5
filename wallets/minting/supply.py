"""Asking the contract whether an edition has room, for the rare mint it left out as sold out."""

from __future__ import annotations

from eth_utils.crypto import keccak

from wallets.minting.chain.port import ChainClient

_MAX_SUPPLY = keccak(text="max_supply(uint256)")[:4]
_MINTED = keccak(text="minted(uint256)")[:4]


async def max_supply(client: ChainClient, contract: str, token_id: int) -> int:
    """Return the cap of an edition, 1 for a numbered copy in range, 0 for anything unknown."""
    return await _ask(client, contract, _MAX_SUPPLY, token_id)


async def has_room(
    client: ChainClient, contract: str, *, item_number: int, token_id: int, amount: int
) -> bool:
    """Say whether ``amount`` of a token could be minted now: within the cap, its serial not taken."""
    for number in {item_number, token_id}:
        most = await max_supply(client, contract, number)
        if await _ask(client, contract, _MINTED, number) + amount > most:
            return False
    return True


async def _ask(client: ChainClient, contract: str, selector: bytes, number: int) -> int:
    return int.from_bytes(await client.call(contract, selector + number.to_bytes(32, "big")), "big")
