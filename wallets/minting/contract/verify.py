"""Compare the code at an address of a chain with the committed build.

``python -m wallets.minting.contract.verify ADDRESS ENDPOINT`` asks one JSON-RPC endpoint for the code, and
who owner and treasury are. The exit code is 0 if the code is ours to the last byte, 1 if it is not or the
endpoint does not answer. No value is kept in the contract's code, so nothing is left out of the comparison.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import sys

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from wallets.minting.chain.jsonrpc import JsonRpcChain
from wallets.minting.chain.port import ChainClient, ChainError
from wallets.minting.contract.artifact import load_artifact


async def verify(client: ChainClient, address: str) -> list[str]:
    """Return what there is to tell about the contract at a checksummed address, line by line.

    Raises ValueError if the code is not the committed build, ChainError if the endpoint does not answer.
    """
    code = await client.code(address)
    artifact = load_artifact()
    if code != artifact.runtime_bytecode:
        found = f"{len(code)} bytes, SHA-256 {hashlib.sha256(code).hexdigest()}" if code else "no code"
        raise ValueError(f"{address} is not this contract: {found}")

    async def word(signature: str) -> bytes:
        return await client.call(address, keccak(text=signature)[:4])

    return [
        f"{address} is goods.vy, compiled with {artifact.compiler} for {artifact.evm_version}",
        f"source SHA-256 {artifact.source_sha256}",
        f"code SHA-256 {hashlib.sha256(code).hexdigest()}, {len(code)} bytes",
        f"owner {to_checksum_address((await word('owner()'))[12:])}",
        f"treasury {to_checksum_address((await word('treasury()'))[12:])}",
        "paused" if any(await word("paused()")) else "running",
    ]


async def _verify_at(endpoint: str, address: str) -> list[str]:
    client = JsonRpcChain(endpoint)
    try:
        return await verify(client, address)
    finally:
        await client.close()


def main(arguments: list[str] | None = None) -> int:
    """Tell about a contract; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", type=to_checksum_address, help="of the contract")
    parser.add_argument("endpoint", help="JSON-RPC over HTTP")
    options = parser.parse_args(arguments)
    try:
        lines = asyncio.run(_verify_at(options.endpoint, options.address))
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except ChainError as error:
        # The address is not told: it may hold a key.
        sys.stderr.write(f"the endpoint gave no usable answer: {error.message}\n")
        return 1
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
