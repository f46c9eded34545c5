"""Keys in AWS KMS, or a service of its shape, over HTTP: they never leave it (PCI DSS 4.0.1, 3.6.1.2).

The context of a record is its encryption context, so the service itself refuses to open a wrapped key
elsewhere, and its own log names the record of every use. Keys are named by their ARN: an alias could be
pointed at another key, which is the substitution that PCI DSS 3.7.7 forbids.

Every call here only uses a key and changes nothing, so each may be sent again. API: AWS Key Management
Service, API reference 2014-11-01.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from base64 import b64decode, b64encode
from binascii import Error as MalformedBase64Error
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from wallets.vault.kms import DataKey, KeyKind, KeysUnavailableError, KeyUseError

_CONTEXT_NAME = "vitrine:record"
_KEY_ARN = re.compile(r"arn:[a-z-]+:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+")
_MAC = {"MacAlgorithm": "HMAC_SHA_256"}
_USAGE = {KeyKind.KEK: "ENCRYPT_DECRYPT", KeyKind.MAC: "GENERATE_VERIFY_MAC"}
_TRY_AGAIN = frozenset(
    {
        "ThrottlingException",
        "LimitExceededException",
        "RequestLimitExceeded",
        "KMSInternalException",
        "InternalFailure",
        "ServiceUnavailableException",
        "DependencyTimeoutException",
        "KeyUnavailableException",
        "ExpiredTokenException",
        "RequestExpired",
    }
)
_FIRST_PAUSE_S = 0.05
_CREDENTIALS_KEPT_S = 60.0

Signer = Callable[[str, Mapping[str, str], bytes], Mapping[str, str]]
"""Takes URL, headers and body of a POST and returns the headers to send. May block."""


class AwsKms:
    """`Kms` over the HTTP API. Key ids are key ARNs. `close` when done.

    An attempt is given up after ``attempt_ms``, the call with its repeats after ``deadline_ms``; then it
    raises KeysUnavailableError. Errors name the service's error type and nothing of what was sent.
    """

    def __init__(
        self, endpoint: str, signer: Signer, *, attempt_ms: int = 1_000, deadline_ms: int = 3_000
    ) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
            raise KeyUseError("the address of the key service must begin with https://")
        self._url = endpoint.rstrip("/") + "/"
        self._signer = signer
        self._deadline_s = deadline_ms / 1000
        self._http = httpx.AsyncClient(timeout=attempt_ms / 1000, follow_redirects=False, trust_env=False)

    async def close(self) -> None:
        await self._http.aclose()

    async def check(self, kind: KeyKind, key_id: str) -> None:
        answer = await self._call("DescribeKey", {"KeyId": _arn(key_id)})
        about = answer.get("KeyMetadata", {})
        if about.get("KeyState") != "Enabled":
            raise KeyUseError("the key is not enabled in the key service")
        if about.get("KeyUsage") != _USAGE[kind]:
            raise KeyUseError(f"the key is not made for use as {kind}")

    async def generate_data_key(self, kek_id: str, context: bytes) -> DataKey:
        answer = await self._call(
            "GenerateDataKey",
            {"KeyId": _arn(kek_id), "KeySpec": "AES_256", "EncryptionContext": _context(context)},
        )
        _check_key(answer, "KeyId", kek_id)
        return DataKey(_bytes(answer, "Plaintext"), _bytes(answer, "CiphertextBlob"))

    async def unwrap(self, kek_id: str, wrapped: bytes, context: bytes) -> bytes:
        answer = await self._call(
            "Decrypt",
            {
                "KeyId": _arn(kek_id),
                "CiphertextBlob": _text(wrapped),
                "EncryptionContext": _context(context),
            },
        )
        _check_key(answer, "KeyId", kek_id)
        return _bytes(answer, "Plaintext")

    async def rewrap(self, kek_id: str, wrapped: bytes, context: bytes, new_kek_id: str) -> bytes:
        answer = await self._call(
            "ReEncrypt",
            {
                "SourceKeyId": _arn(kek_id),
                "SourceEncryptionContext": _context(context),
                "CiphertextBlob": _text(wrapped),
                "DestinationKeyId": _arn(new_kek_id),
                "DestinationEncryptionContext": _context(context),
            },
        )
        _check_key(answer, "SourceKeyId", kek_id)
        _check_key(answer, "KeyId", new_kek_id)
        return _bytes(answer, "CiphertextBlob")

    async def mac(self, key_id: str, data: bytes) -> bytes:
        answer = await self._call("GenerateMac", {"KeyId": _arn(key_id), "Message": _text(data), **_MAC})
        _check_key(answer, "KeyId", key_id)
        return _bytes(answer, "Mac")

    async def verify_mac(self, key_id: str, data: bytes, mac: bytes) -> bool:
        try:
            answer = await self._call(
                "VerifyMac", {"KeyId": _arn(key_id), "Message": _text(data), "Mac": _text(mac), **_MAC}
            )
        except _RefusedError as refused:
            if refused.error_type == "KMSInvalidMacException":
                return False
            raise
        return answer.get("MacValid") is True

    async def _call(self, operation: str, body: Mapping[str, Any]) -> dict[str, Any]:
        content = json.dumps(body).encode()
        deadline = time.monotonic() + self._deadline_s
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    return await self._attempt(operation, content)
            except (_TryAgainError, TimeoutError, httpx.HTTPError) as error:
                # Nothing is chained: the library's error holds the request, and with it the data key.
                reason = error.reason if isinstance(error, _TryAgainError) else type(error).__name__
            # Full jitter, so that many waiting sales do not come back at once.
            wait_s = random.uniform(0, pause_s)  # noqa: S311  # not a secret
            if time.monotonic() + wait_s >= deadline:
                raise KeysUnavailableError(f"{operation}: the key service gave no answer ({reason})")
            await asyncio.sleep(wait_s)
            pause_s *= 2

    async def _attempt(self, operation: str, content: bytes) -> dict[str, Any]:
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"TrentService.{operation}",
        }
        # Credentials may have to be fetched, which blocks.
        signed = await asyncio.to_thread(self._signer, self._url, headers, content)
        response = await self._http.post(self._url, content=content, headers=dict(signed))
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if response.status_code == 200 and isinstance(answer, dict):
            return answer
        error_type = _error_type(answer)
        if response.status_code >= 500 or response.status_code == 429 or error_type in _TRY_AGAIN:
            raise _TryAgainError(error_type)
        raise _RefusedError(operation, error_type)


class _TryAgainError(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _RefusedError(KeyUseError):
    def __init__(self, operation: str, error_type: str) -> None:
        super().__init__(f"{operation}: the key service refused ({error_type})")
        self.error_type = error_type


def open_aws_kms(region: str, endpoint: str | None = None) -> AwsKms:
    """Return the adapter with the credentials botocore finds (environment, profile, role of the machine).

    Needs the extra ``kms``. Raises KeyUseError where there are no credentials.
    """
    return AwsKms(endpoint or f"https://kms.{region}.amazonaws.com", sigv4_signer(region))


def sigv4_signer(region: str) -> Signer:
    """Return a signer (AWS Signature Version 4) that renews its credentials by itself."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.session import Session

    found = Session().get_credentials()
    if found is None:
        raise KeyUseError("no credentials for the key service were found")
    kept: list[Any] = [None, 0.0]

    def sign(url: str, headers: Mapping[str, str], body: bytes) -> Mapping[str, str]:
        if time.monotonic() >= kept[1]:
            kept[:] = [found.get_frozen_credentials(), time.monotonic() + _CREDENTIALS_KEPT_S]
        request = AWSRequest("POST", url, headers=dict(headers), data=body)
        SigV4Auth(kept[0], "kms", region).add_auth(request)
        return dict(request.headers.items())

    return sign


def _arn(key_id: str) -> str:
    if _KEY_ARN.fullmatch(key_id) is None:
        raise KeyUseError("a key of the key service is named by its key ARN, not by an alias")
    return key_id


def _context(context: bytes) -> dict[str, str]:
    try:
        return {_CONTEXT_NAME: context.decode()}
    except UnicodeDecodeError:
        raise KeyUseError("an encryption context must be text") from None


def _check_key(answer: Mapping[str, Any], name: str, key_id: str) -> None:
    # Some services of this shape answer with the last part of the ARN.
    if answer.get(name) not in (key_id, key_id.rpartition("/")[2]):
        raise KeyUseError("the key service used another key than it was asked to")


def _text(data: bytes) -> str:
    return b64encode(data).decode()


def _bytes(answer: Mapping[str, Any], name: str) -> bytes:
    try:
        return b64decode(answer[name], validate=True)
    except (KeyError, TypeError, MalformedBase64Error):
        raise KeyUseError(f"the key service's answer has no {name}") from None


def _error_type(answer: Any) -> str:
    """Return the name of the error, ``com.amazonaws.kms#NotFoundException`` without what comes before."""
    found = answer.get("__type") if isinstance(answer, dict) else None
    name = re.search(r"[A-Za-z]{1,60}$", found) if isinstance(found, str) else None
    return name.group(0) if name else "no reason given"
