# pragma version 0.4.3
# pragma evm-version cancun

"""
@title A contract account for tests: what its owner's key signed, it takes for its own
"""

OWNER: immutable(address)


@deploy
def __init__(owner: address):
    OWNER = owner


@external
@view
def isValidSignature(digest: bytes32, signature: Bytes[1024]) -> bytes4:
    if len(signature) != 65:
        return 0xffffffff
    r: uint256 = extract32(signature, 0, output_type=uint256)
    s: uint256 = extract32(signature, 32, output_type=uint256)
    v: uint256 = convert(slice(signature, 64, 1), uint256)
    if ecrecover(digest, v, r, s) != OWNER:
        return 0xffffffff
    return 0x1626ba7e
