"""The quicker interpreter does exactly what py-evm does: same state, gas, output, logs and error."""

from dataclasses import dataclass

import pytest
from eth.chains.base import Chain
from eth.db.atomic import AtomicDB
from eth.vm.forks.prague import PragueVM
from eth.vm.forks.prague.state import PragueState
from hypothesis import given, settings
from hypothesis import strategies as st

from wallets.minting.chain.hot_opcodes import HotComputation

HERE, SENDER = b"\x11" * 20, b"\x22" * 20


class HotState(PragueState):
    computation_class = HotComputation


class HotVM(PragueVM):
    _state_class = HotState


@dataclass(frozen=True)
class Ran:
    error: str
    gas_remaining: int
    refund: int
    output: bytes
    logs: tuple
    storage: tuple
    stack: tuple
    memory: bytes


def run(vm_class: type, code: bytes, data: bytes, gas: int) -> Ran:
    class OneChain(Chain):
        chain_id = 1
        vm_configuration = ((0, vm_class),)

    params = {"difficulty": 0, "gas_limit": 30_000_000, "timestamp": 1_790_000_000, "coinbase": bytes(20)}
    account = {"balance": 10**18, "nonce": 1, "code": code, "storage": {0: 5, 1: 7}}
    chain = OneChain.from_genesis(AtomicDB(), params, {HERE: account})
    vm = chain.get_vm(chain.get_canonical_head())
    computation = vm.execute_bytecode(
        origin=SENDER,
        gas_price=1,
        gas=gas,
        to=HERE,
        sender=SENDER,
        value=0,
        data=data,
        code=code,
        code_address=HERE,
    )
    return Ran(
        error=type(computation._error).__name__,
        gas_remaining=computation.get_gas_remaining(),
        refund=computation.get_gas_refund(),
        output=computation.output,
        logs=computation.get_log_entries(),
        storage=tuple(vm.state.get_storage(HERE, slot) for slot in range(4)),
        stack=tuple(
            int.from_bytes(value, "big") if isinstance(value, bytes) else value
            for value in computation._stack.values
        ),
        memory=bytes(computation._memory._bytes),
    )


def same(code: bytes, data: bytes = b"", gas: int = 100_000) -> Ran:
    slow, quick = run(PragueVM, code, data, gas), run(HotVM, code, data, gas)
    if slow.error != "NoneType":
        # After a failure only what a caller can see counts; the machine is thrown away.
        assert [slow.error, slow.gas_remaining, slow.output] == [
            quick.error,
            quick.gas_remaining,
            quick.output,
        ]
        assert slow.storage == quick.storage
    else:
        assert slow == quick
    return quick


COMMON = [
    *range(0x01, 0x0C), *range(0x10, 0x1E), 0x20, *range(0x30, 0x3F), *range(0x40, 0x4B),
    *range(0x50, 0x60), *range(0x80, 0xA5), 0xF3, 0xFA, 0xFD, 0xFE,
]  # fmt: skip
SMALL = st.integers(0, 200).map(lambda number: bytes([0x60, number]))
EDGES = st.sampled_from([0, 1, 31, 32, 255, 256, 2**16, 2**255, 2**256 - 1]).map(
    lambda number: bytes([0x7F]) + number.to_bytes(32, "big")
)
OPCODE = st.sampled_from(COMMON).map(lambda opcode: bytes([opcode]))
PROGRAM = st.lists(st.one_of(SMALL, SMALL, EDGES, OPCODE), max_size=80).map(b"".join)


@settings(max_examples=400, deadline=None)
@given(code=PROGRAM, data=st.binary(max_size=70), gas=st.integers(0, 60_000))
def test_random_programs_end_alike(code, data, gas):
    same(code, data, gas)


@settings(max_examples=100, deadline=None)
@given(code=st.binary(max_size=60), gas=st.integers(0, 30_000))
def test_random_bytes_end_alike(code, gas):
    same(code, b"", gas)


def test_program_ends_alike_with_every_amount_of_gas():
    # mstore(0, 7); loop four times with jumpi; return keccak256 of the memory
    code = bytes.fromhex("6007600052600460015b90600190035b8060085760206000206020526020602060f3")
    same(code)
    code = bytes.fromhex("6004" + "5b" + "6001900380" + "6002" + "57" + "600752602060002060005260206000f3")
    enough = same(code)
    assert enough.error == "NoneType"
    for gas in range(200):
        same(code, b"", gas)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("5b600056", "OutOfGas"),  # for ever
        ("600456fe5b00", "NoneType"),
        ("600356fe605b00", "InvalidJumpDestination"),
        ("600556fe605b00", "InvalidInstruction"),  # the target is data of a push
        ("60ff56", "InvalidJumpDestination"),
        ("7f" + "ff" * 32 + "56", "InvalidJumpDestination"),
        ("50", "InsufficientStack"),
        ("01", "InsufficientStack"),
        ("90", "InsufficientStack"),
        ("8f", "InsufficientStack"),
        ("52", "InsufficientStack"),
        ("7f" + "ff" * 32 + "51", "OutOfGas"),  # memory nobody can pay for
        ("61", "NoneType"),  # a push cut short by the end of the code
        ("7fff", "NoneType"),
        ("5b5f600056", "FullStack"),
        ("5b58600056", "FullStack"),
        ("0c", "InvalidInstruction"),
        ("", "NoneType"),
    ],
)
def test_border_cases_end_alike(code, error):
    assert same(bytes.fromhex(code)).error == error


def test_calls_into_itself_end_alike():
    # call(gas, address(), 0, 0, 0, 0, 32) while calldata is empty, then return what came back
    code = bytes.fromhex("36601a5760206000600160006000305af160005160005260206000f35b602a60005260206000f3")
    same(code, b"", 200_000)
    same(code, b"\x01", 200_000)
