"""The chain as custody asks it about contract accounts, over the client that minting uses."""

from __future__ import annotations

from wallets.minting.chain.port import CallReverted, ChainClient


class ChainQuestions:
    """Implements `wallets.custody.proving.ChainState`."""

    def __init__(self, client: ChainClient) -> None:
        self._client = client

    async def code(self, address: str) -> bytes:
        """See ChainState."""
        return await self._client.code(address)

    async def run(self, code: bytes) -> bytes:
        """See ChainState."""
        try:
            await self._client.call(None, code)
        except CallReverted as answered:
            return answered.return_data
        return b""
