"""A quicker run of py-evm's commonest opcodes, with the same result.

py-evm spends most of a mint on calls between small functions: an opcode function, a gas meter, a stack and
a memory object for each of about 270 opcodes per purchase. Here the common opcodes run inside one loop on
local variables. Only the plain case is handled: enough gas, enough stack, memory already there, a valid
jump. Everything else is handed to py-evm's own opcode with the machine in the state py-evm would have, so
that every error, every gas rule and every state access stays py-evm's. Tests run the contract and random
programs on both and compare.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from eth.vm.code_stream import CodeStream
from eth.vm.forks.prague.computation import PragueComputation
from eth_hash.auto import keccak

_WORD = (1 << 256) - 1
_STACK_LIMIT = 1024


class _Decoded(NamedTuple):
    """``opcodes`` ends in STOPs, so no position needs a bound check; ``pushes`` is position to value."""

    opcodes: bytes
    pushes: dict[int, int]
    jump_targets: frozenset[int]


@lru_cache(maxsize=64)
def _decode(code: bytes) -> _Decoded:
    pushes: dict[int, int] = {}
    targets = []
    position = 0
    while position < len(code):
        opcode = code[position]
        if 0x5F <= opcode <= 0x7F:
            size = opcode - 0x5F
            # A push that the end of the code cuts short is padded on the right.
            pushes[position] = int.from_bytes(
                code[position + 1 : position + 1 + size].ljust(size, b"\0"), "big"
            )
            position += size
        elif opcode == 0x5B:
            targets.append(position)
        position += 1
    return _Decoded(code + bytes(33), pushes, frozenset(targets))


class _HotCode(CodeStream):  # type: ignore[misc]  # py-evm is seen untyped
    """Iterating runs the common opcodes and yields the others to py-evm's loop, which then runs them."""

    program_counter: int
    _raw_code_bytes: bytes

    def __init__(self, code: bytes, computation: Any) -> None:
        super().__init__(code)
        self._computation = computation

    def __iter__(self) -> Iterator[int]:
        meter = self._computation._gas_meter
        memory_object = self._computation._memory
        data = self._computation.msg.data_as_bytes
        stack: list[Any] = self._computation._stack.values
        push, pop = stack.append, stack.pop
        opcodes, pushes, jump_targets = _decode(self._raw_code_bytes)
        from_bytes = int.from_bytes
        while True:
            position = self.program_counter
            gas: int = meter.gas_remaining
            # py-evm may replace the buffer when it extends memory; it never shrinks.
            memory: bytearray = memory_object._bytes
            memory_size = len(memory)
            while True:
                opcode = opcodes[position]
                depth = len(stack)
                # The dearest opcode here is JUMPI with 10 gas; the hash checks for itself.
                if gas < 10 or depth >= _STACK_LIMIT:
                    break
                if 0x5F <= opcode <= 0x7F:  # PUSH0 to PUSH32
                    push(pushes[position])
                    position += opcode - 0x5F
                    gas -= 3 if opcode > 0x5F else 2
                elif opcode == 0x51:  # MLOAD
                    if not depth:
                        break
                    start = stack[-1]
                    if start.__class__ is bytes:
                        start = from_bytes(start, "big")
                    if start + 32 > memory_size:
                        break
                    stack[-1] = from_bytes(memory[start : start + 32], "big")
                    gas -= 3
                elif opcode == 0x52:  # MSTORE
                    if depth < 2:
                        break
                    start = stack[-1]
                    if start.__class__ is bytes:
                        start = from_bytes(start, "big")
                    if start + 32 > memory_size:
                        break
                    pop()
                    word = pop()
                    memory[start : start + 32] = (
                        word.rjust(32, b"\0") if word.__class__ is bytes else word.to_bytes(32, "big")
                    )
                    gas -= 3
                elif opcode == 0x57:  # JUMPI
                    if depth < 2:
                        break
                    target, condition = stack[-1], stack[-2]
                    if target.__class__ is bytes:
                        target = from_bytes(target, "big")
                    if condition.__class__ is bytes:
                        condition = from_bytes(condition, "big")
                    if condition:
                        if target not in jump_targets:
                            break
                        position = target - 1
                    del stack[-2:]
                    gas -= 10
                elif opcode == 0x5B:  # JUMPDEST
                    gas -= 1
                elif 0x80 <= opcode <= 0x8F:  # DUP1 to DUP16
                    if depth < opcode - 0x7F:
                        break
                    push(stack[0x7F - opcode])
                    gas -= 3
                elif 0x90 <= opcode <= 0x9F:  # SWAP1 to SWAP16
                    other = 0x8E - opcode
                    if depth < -other:
                        break
                    stack[-1], stack[other] = stack[other], stack[-1]
                    gas -= 3
                elif opcode == 0x50:  # POP
                    if not depth:
                        break
                    pop()
                    gas -= 2
                elif opcode == 0x15:  # ISZERO
                    if not depth:
                        break
                    top = stack[-1]
                    if top.__class__ is bytes:
                        top = from_bytes(top, "big")
                    stack[-1] = 0 if top else 1
                    gas -= 3
                elif opcode == 0x56:  # JUMP
                    if not depth:
                        break
                    target = stack[-1]
                    if target.__class__ is bytes:
                        target = from_bytes(target, "big")
                    if target not in jump_targets:
                        break
                    pop()
                    position = target - 1
                    gas -= 8
                elif opcode == 0x35:  # CALLDATALOAD
                    if not depth:
                        break
                    start = stack[-1]
                    if start.__class__ is bytes:
                        start = from_bytes(start, "big")
                    stack[-1] = from_bytes(data[start : start + 32].ljust(32, b"\0"), "big")
                    gas -= 3
                elif opcode in _TWO_OPERANDS:
                    if depth < 2:
                        break
                    first, second = stack[-1], stack[-2]
                    if first.__class__ is bytes:
                        first = from_bytes(first, "big")
                    if second.__class__ is bytes:
                        second = from_bytes(second, "big")
                    if opcode == 0x01:  # ADD
                        result = (first + second) & _WORD
                    elif opcode == 0x1B:  # SHL
                        result = (second << first) & _WORD if first < 256 else 0
                    elif opcode == 0x10:  # LT
                        result = 1 if first < second else 0
                    elif opcode == 0x11:  # GT
                        result = 1 if first > second else 0
                    elif opcode == 0x14:  # EQ
                        result = 1 if first == second else 0
                    elif opcode == 0x1C:  # SHR
                        result = second >> first if first < 256 else 0
                    elif opcode == 0x18:  # XOR
                        result = first ^ second
                    elif opcode == 0x16:  # AND
                        result = first & second
                    elif opcode == 0x17:  # OR
                        result = first | second
                    elif opcode == 0x03:  # SUB
                        result = (first - second) & _WORD
                    else:  # 0x20, KECCAK256 of memory[first : first + second]
                        cost = 30 + 6 * ((second + 31) // 32)
                        if first + second > memory_size or gas < cost:
                            break
                        result = from_bytes(keccak(bytes(memory[first : first + second])), "big")
                        gas += 3 - cost
                    del stack[-1]
                    stack[-1] = result
                    gas -= 3
                else:
                    break
                position += 1
            meter.gas_remaining = gas
            self.program_counter = position + 1
            yield opcode


_TWO_OPERANDS = frozenset((0x01, 0x03, 0x10, 0x11, 0x14, 0x16, 0x17, 0x18, 0x1B, 0x1C, 0x20))


class HotComputation(PragueComputation):  # type: ignore[misc]  # py-evm is seen untyped
    """PragueComputation whose code runs its common opcodes in one loop."""

    def __init__(self, state: Any, message: Any, transaction_context: Any) -> None:
        super().__init__(state, message, transaction_context)
        self.code = _HotCode(message.code, self)
