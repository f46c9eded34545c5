"""Any Ethereum node behind the port, over JSON-RPC on HTTP (Ethereum execution API specification).

web3 is imported when a client is made, not before: a gateway on the embedded chain never loads it. Nodes
agree on methods but not on error texts, so all texts are mapped in one table. Nothing here retries: the
lane decides. The endpoint's address often holds an access key; it is in no error.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

from eth_utils.address import to_checksum_address

from wallets.minting.chain.port import (
    AlreadyKnown,
    CallReverted,
    ChainError,
    ChainRefused,
    ChainUnavailable,
    Fees,
    FeeTooLow,
    InsufficientFunds,
    Log,
    NonceTooHigh,
    NonceTooLow,
    Receipt,
    Throttled,
)
from wallets.minting.chain.reverts import revert_reason

if TYPE_CHECKING:
    from web3.providers.rpc import AsyncHTTPProvider
    from web3.types import RPCEndpoint

# Words of geth, erigon, nethermind, besu, reth, anvil and hardhat, in lower case. The first match wins:
# "replacement transaction underpriced" must not be taken for something known.
_ERROR_TEXTS: tuple[tuple[str, type[ChainError]], ...] = (
    ("underpriced", FeeTooLow),
    ("less than block base fee", FeeTooLow),
    ("fee too low", FeeTooLow),
    ("feetoolow", FeeTooLow),
    ("gas price below", FeeTooLow),
    ("already known", AlreadyKnown),
    ("alreadyknown", AlreadyKnown),
    ("known transaction", AlreadyKnown),
    ("already imported", AlreadyKnown),
    ("already_exists", AlreadyKnown),
    ("nonce too low", NonceTooLow),
    ("nonce_too_low", NonceTooLow),
    ("oldnonce", NonceTooLow),
    ("nonce too high", NonceTooHigh),
    ("nonce_too_high", NonceTooHigh),
    ("nonce gap", NonceTooHigh),
    ("insufficient funds", InsufficientFunds),
    ("insufficientfunds", InsufficientFunds),
    ("insufficient balance", InsufficientFunds),
    ("upfront cost exceeds", InsufficientFunds),
    ("limit exceeded", Throttled),
    ("too many requests", Throttled),
    ("rate limit", Throttled),
    ("indexing is in progress", ChainUnavailable),
    ("timeout", ChainUnavailable),
    ("timed out", ChainUnavailable),
)
# Internal error and resource unavailable (EIP-1474): the node's trouble, not the request's.
_UNAVAILABLE_CODES = frozenset((-32603, -32002))
# "Limit exceeded" of EIP-1474, and the status of HTTP that some providers repeat in the answer.
_THROTTLED_CODES = frozenset((-32005, 429))
_REVERT_CODE = 3
_TOO_MANY_REQUESTS = 429
_LONGEST_PAUSE_S = 60.0
"""No answer makes us wait longer than this before we ask again."""


class JsonRpcChain:
    """A ChainClient over one HTTP endpoint."""

    def __init__(self, endpoint: str, *, timeout_s: float = 10.0) -> None:
        """``timeout_s`` bounds each request from connecting to the last byte, in seconds."""
        from web3.providers.rpc import AsyncHTTPProvider

        self._timeout_s = timeout_s
        # No retries inside: after a lost answer the lane asks for the receipt before it sends again.
        self._provider: AsyncHTTPProvider = AsyncHTTPProvider(endpoint, exception_retry_configuration=None)

    async def _ask(self, method: str, *params: Any) -> Any:
        from aiohttp import ClientError, ClientResponseError

        endpoint_method: RPCEndpoint = method  # type: ignore[assignment]  # a NewType of web3
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._provider.make_request(endpoint_method, params)
        except TimeoutError as error:
            raise ChainUnavailable(f"{method}: no answer within {self._timeout_s} s") from error
        except ClientResponseError as error:
            if error.status == _TOO_MANY_REQUESTS:
                raise Throttled(f"{method}: too many requests", _pause_s(error.headers or {})) from None
            raise ChainUnavailable(f"{method}: status {error.status}") from None
        except (ClientError, OSError) as error:
            # The cause may name the endpoint, so it is not chained into anything that is logged.
            raise ChainUnavailable(f"{method}: {type(error).__name__}") from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ChainUnavailable(f"{method}: the answer is not JSON") from error
        if not isinstance(response, dict):
            raise ChainUnavailable(f"{method}: the answer is not JSON-RPC")
        if response.get("error") is not None:
            raise _mapped(method, response["error"])
        if "result" not in response:
            raise ChainUnavailable(f"{method}: the answer is not JSON-RPC")
        return response["result"]

    async def chain_id(self) -> int:
        """See ChainClient."""
        return _number(await self._ask("eth_chainId"))

    async def head(self) -> int:
        """See ChainClient."""
        return _number(await self._ask("eth_blockNumber"))

    async def block_hash(self, number: int) -> bytes | None:
        """See ChainClient."""
        block = await self._ask("eth_getBlockByNumber", hex(number), False)
        return None if block is None else _bytes(_field(block, "hash"))

    async def nonce(self, address: str, block: int | None = None) -> int:
        """See ChainClient."""
        return _number(await self._ask("eth_getTransactionCount", address, _tag(block)))

    async def balance(self, address: str) -> int:
        """See ChainClient."""
        return _number(await self._ask("eth_getBalance", address, "latest"))

    async def call(self, to: str | None, data: bytes, block: int | None = None) -> bytes:
        """See ChainClient."""
        asked = {"data": "0x" + data.hex()} if to is None else {"to": to, "data": "0x" + data.hex()}
        return _bytes(await self._ask("eth_call", asked, _tag(block)))

    async def send_raw(self, raw: bytes) -> bytes:
        """See ChainClient."""
        return _bytes(await self._ask("eth_sendRawTransaction", "0x" + raw.hex()))

    async def receipt(self, tx_hash: bytes) -> Receipt | None:
        """See ChainClient."""
        found = await self._ask("eth_getTransactionReceipt", "0x" + tx_hash.hex())
        if found is None or _field(found, "blockNumber") is None:
            return None
        try:
            receipt = _receipt(found)
        except (KeyError, TypeError, AttributeError) as error:
            raise ChainUnavailable("the node answered something else than a receipt") from error
        if receipt.tx_hash != tx_hash:
            raise ChainUnavailable("the node answered with the receipt of another transaction")
        return receipt

    async def fees(self) -> Fees:
        """See ChainClient. Raises ChainRefused on a chain without EIP-1559."""
        block = await self._ask("eth_getBlockByNumber", "latest", False)
        if block is None or _field(block, "baseFeePerGas") is None:
            raise ChainRefused("the chain has no base fee (EIP-1559)")
        priority_fee = _number(await self._ask("eth_maxPriorityFeePerGas"))
        return Fees(max_fee=2 * _number(block["baseFeePerGas"]) + priority_fee, priority_fee=priority_fee)

    async def code(self, address: str) -> bytes:
        """See ChainClient."""
        return _bytes(await self._ask("eth_getCode", address, "latest"))

    async def close(self) -> None:
        """Close the connections."""
        await self._provider.disconnect()


def _mapped(method: str, error: Any) -> ChainError:
    if not isinstance(error, dict):
        return ChainUnavailable(f"{method}: {str(error)[:200]}")
    text, code = str(error.get("message", "")), error.get("code")
    if method == "eth_call" and (code == _REVERT_CODE or "revert" in text.lower()):
        data = _revert_data(error.get("data"))
        return CallReverted(revert_reason(data), data)
    for words, kind in _ERROR_TEXTS:
        if words in text.lower():
            return kind(f"{method}: {text[:200]}")
    if code in _THROTTLED_CODES:
        return Throttled(f"{method}: {text[:200]} ({code})")
    kind = ChainUnavailable if code in _UNAVAILABLE_CODES else ChainRefused
    return kind(f"{method}: {text[:200]} ({code})")


def _pause_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a Retry-After field, given in seconds or as a date (RFC 9110, 10.2.3)."""
    text = headers.get("Retry-After")
    if text is None:
        return None
    try:
        pause_s = float(text)
    except ValueError:
        try:
            at = parsedate_to_datetime(text)
        except ValueError:
            return None
        if at.tzinfo is None:
            at = at.replace(tzinfo=UTC)
        pause_s = (at - datetime.now(UTC)).total_seconds()
    return min(max(pause_s, 0.0), _LONGEST_PAUSE_S)


def _revert_data(data: Any) -> bytes:
    # Some nodes nest the bytes, some add words before them, some send none.
    if isinstance(data, dict):
        data = data.get("data")
    if not isinstance(data, str) or not data.startswith("0x"):
        return b""
    try:
        return bytes.fromhex(data[2:])
    except ValueError:
        return b""


def _tag(block: int | None) -> str:
    return "latest" if block is None else hex(max(block, 0))


def _field(found: Any, name: str) -> Any:
    if not isinstance(found, dict):
        raise ChainUnavailable("the node answered something else than an object")
    return found.get(name)


def _receipt(found: Any) -> Receipt:
    contract = found.get("contractAddress")
    return Receipt(
        tx_hash=_bytes(found["transactionHash"]),
        block_number=_number(found["blockNumber"]),
        block_hash=_bytes(found["blockHash"]),
        succeeded=_number(found["status"]) == 1,
        gas_used=_number(found["gasUsed"]),
        contract_address=None if contract is None else to_checksum_address(contract),
        logs=_logs(found["logs"]),
    )


def _number(quantity: Any) -> int:
    try:
        return int(quantity, 16)
    except (TypeError, ValueError) as error:
        raise ChainUnavailable("the node answered something else than a quantity") from error


def _bytes(data: Any) -> bytes:
    try:
        return bytes.fromhex(data.removeprefix("0x"))
    except (AttributeError, ValueError) as error:
        raise ChainUnavailable("the node answered something else than bytes") from error


def _logs(found: Any) -> Sequence[Log]:
    if not isinstance(found, list) or not all(isinstance(log, dict) for log in found):
        raise TypeError("logs are a list of objects")
    return _Logs(found) if found else ()


class _Logs(Sequence[Log]):
    """Events as the node wrote them, taken apart when somebody looks: of most receipts nobody does.

    Looking raises ChainUnavailable if the node wrote something else than events.
    """

    def __init__(self, found: list[dict[str, Any]]) -> None:
        self._found = found

    @cached_property
    def _logs(self) -> tuple[Log, ...]:
        # Checksumming takes a hash; a batch's logs all come from one or two contracts.
        addresses: dict[str, str] = {}
        logs = []
        try:
            for log in self._found:
                address = addresses.get(log["address"])
                if address is None:
                    address = addresses[log["address"]] = to_checksum_address(log["address"])
                logs.append(
                    Log(address, tuple(_bytes(topic) for topic in log["topics"]), _bytes(log["data"]))
                )
        except (KeyError, TypeError, ValueError) as error:
            raise ChainUnavailable("the node answered something else than events") from error
        return tuple(logs)

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Log]:
        return iter(self._logs)

    @overload
    def __getitem__(self, index: int) -> Log: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Log]: ...
    def __getitem__(self, index: int | slice) -> Log | Sequence[Log]:
        return self._logs[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._logs == tuple(other)

    def __hash__(self) -> int:
        return hash(self._logs)
