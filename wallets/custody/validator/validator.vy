# pragma version 0.4.3
# pragma evm-version cancun

"""
@title Validator
@license Apache-2.0
@notice Asks a contract account whether it takes a signature for its own (EIP-1271), also one that
        is not deployed yet (ERC-6492). It is creation code for a read call: it always reverts, and
        the revert data are the answer. Sent as a transaction it would leave nothing behind.
@dev The answer is the outermost frame's own, so that no contract that is called here can forge it:
     what they return is looked at and never passed on.
"""

ANSWER: constant(bytes32) = keccak256("vitrine validator 1")

# Selector of isValidSignature(bytes32,bytes), and the answer that means yes (EIP-1271).
IS_VALID_SIGNATURE: constant(bytes4) = 0x1626ba7e
YES: constant(bytes32) = 0x1626ba7e00000000000000000000000000000000000000000000000000000000

NO_CODE: constant(uint256) = 0
INVALID: constant(uint256) = 1
VALID: constant(uint256) = 2


@deploy
def __init__(
    account: address,
    digest: bytes32,
    signature: Bytes[8192],
    factory: address,
    factory_data: Bytes[8192],
    deploy_gas: uint256,
    check_gas: uint256,
):
    """
    @param account Whose signature it should be.
    @param digest What was signed.
    @param signature As the account understands it, without the wrapping of ERC-6492.
    @param factory Whom to call first if there is no code at the account; without code: nobody.
    @param factory_data What the factory is called with.
    @param deploy_gas Gas the factory may use.
    @param check_gas Gas the account may use.
    """
    if account.codesize == 0 and factory.codesize != 0:
        # Its success does not matter, what stands at the account afterwards does. An account that has
        # code is asked as it is: whoever wrapped the signature must not prepare it for the question.
        # What has no code deploys nothing, and a precompiled contract can take a node in Python a
        # minute for the same gas.
        called: bool = raw_call(factory, factory_data, gas=deploy_gas, revert_on_failure=False)
    if account.codesize == 0:
        raw_revert(abi_encode(ANSWER, NO_CODE))
    success: bool = False
    returned: Bytes[64] = b""
    success, returned = raw_call(
        account,
        abi_encode(digest, signature, method_id=IS_VALID_SIGNATURE),
        max_outsize=64,
        gas=check_gas,
        is_static_call=True,
        revert_on_failure=False,
    )
    # The whole word: the first four bytes alone are also what an account answers that returns its input.
    if success and len(returned) == 32:
        if extract32(returned, 0) == YES:
            raw_revert(abi_encode(ANSWER, VALID))
    raw_revert(abi_encode(ANSWER, INVALID))
