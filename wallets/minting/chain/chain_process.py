"""The process in which embedded chains run: ``python -m wallets.minting.chain.chain_process``.

It speaks pickles with the one who started it, over its standard input and output, so both are of one version
and trust each other. A request opens a chain, and is answered with its number and chain id; or it names a
chain, a method of `EvmChain` and its arguments. Each answer says whether it succeeded, and is the value or
the error. The process ends when its input does, also if the one who started it was killed: after the block
at hand.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from wallets.minting.chain.embedded_chain import CHAIN_ID, EvmChain
from wallets.minting.chain.port import ChainError

NICENESS = 5
"""A block may wait for a customer's purchase, not the other way round."""


class Chains:
    """The chains of this process, by number."""

    def __init__(self) -> None:
        self._open: dict[int, EvmChain] = {}
        self._opened = 0

    def open(self, path: Path, funded: Sequence[str]) -> tuple[int, int]:
        """Open one more and return (its number, its chain id). Raises ChainUnavailable."""
        chain = EvmChain(path)
        try:
            chain.fund(funded)
        except BaseException:
            chain.close()
            raise
        self._opened += 1
        self._open[self._opened] = chain
        return self._opened, CHAIN_ID

    def ask(self, number: int, method: str, arguments: tuple[Any, ...]) -> Any:
        """Return what the chain's method returns."""
        return getattr(self._open[number], method)(*arguments)

    def close(self, number: int) -> None:
        """Close one. A second call does nothing."""
        chain = self._open.pop(number, None)
        if chain is not None:
            chain.close()

    def close_all(self) -> None:
        """Close what is open."""
        for number in tuple(self._open):
            self.close(number)


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more."""
    chains = Chains()
    try:
        while True:
            try:
                name, arguments = pickle.load(requests)  # noqa: S301  # from the process that started this one
            except EOFError:
                return
            try:
                value = getattr(chains, name)(*arguments)
            except ChainError as error:
                _answer(answers, False, error)
            except Exception:
                # A defect of the chain: it is told where it was asked for, as if it had run there.
                _answer(answers, False, RuntimeError(traceback.format_exc()))
            else:
                _answer(answers, True, value)
    finally:
        chains.close_all()


def _answer(answers: BinaryIO, succeeded: bool, value: Any) -> None:
    answers.write(pickle.dumps((succeeded, value), pickle.HIGHEST_PROTOCOL))
    answers.flush()


def main() -> None:
    """Serve whoever started this process."""
    # It ends with its input. A signal to the whole group must not take the chain from a gateway that is
    # still finishing its work.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.nice(NICENESS)
    # What a library prints must not get between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        serve(sys.stdin.buffer, answers)
    except BrokenPipeError:
        # Nobody waits for the answer any more.
        sys.exit(0)


if __name__ == "__main__":
    main()
