"""What a deployment transaction carries and where its contract will stand.

Both are known before anything is sent, so a deployment follows the rule of every transaction of ours: store
the signed bytes, then broadcast them, and after a crash broadcast the same bytes again. There is never a
second contract.
"""

from __future__ import annotations

import rlp
from eth_abi.abi import encode as abi_encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from wallets.minting.contract.artifact import Artifact

ZERO_ADDRESS = "0x0000000000000000000000000000000000000000"

DEPLOY_GAS = 4_500_000
"""Gas limit of a deployment; the committed build uses about two thirds of it."""


def deployment_data(
    artifact: Artifact,
    *,
    base_uri: str,
    treasury: str = ZERO_ADDRESS,
    royalty_receiver: str = ZERO_ADDRESS,
    royalty_bps: int = 0,
) -> bytes:
    """Return the data of the transaction that creates the contract (its ``to`` is empty).

    The sender becomes owner and first minter. The zero address as ``treasury`` or ``royalty_receiver``
    stands for the owner of the day. ``royalty_bps`` is in hundredths of a percent, at most 10,000.
    ``base_uri`` is answered for items without a URI of their own, at most 256 bytes.
    """
    if not 0 <= royalty_bps <= 10_000:
        raise ValueError("a royalty is between 0 and 10,000 basis points")
    if len(base_uri.encode()) > 256:
        raise ValueError("the base URI is at most 256 bytes")
    arguments = abi_encode(
        ["string", "address", "address", "uint256"], [base_uri, treasury, royalty_receiver, royalty_bps]
    )
    return artifact.bytecode + arguments


def create_address(sender: str, nonce: int) -> str:
    """Return the address of the contract that ``sender`` creates with transaction ``nonce``.

    The last 20 bytes of keccak(rlp([sender, nonce])): Ethereum yellow paper, section 7.
    """
    return to_checksum_address(keccak(rlp.encode([bytes.fromhex(sender[2:]), nonce]))[-20:])
