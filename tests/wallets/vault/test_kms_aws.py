"""The HTTP key service adapter where moto is kinder than AWS: a server of ours that plays its moods."""

from __future__ import annotations

import asyncio
import json
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from wallets.vault.kms import KeyKind, KeysUnavailableError, KeyUseError
from wallets.vault.kms_aws import AwsKms, open_aws_kms, sigv4_signer

KEY = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"
OTHER = "arn:aws:kms:eu-central-1:123456789012:key/99999999-2222-3333-4444-555555555555"
SECRET = b"the data key in the clear 012345"


class Answers:
    """An HTTP server that gives its answers in turn, the last one for ever."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.requests: list[tuple[dict[str, str], dict[str, Any]]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")[1:-2]
                headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
                body = json.loads(await reader.readexactly(int(headers["content-length"])))
                self.requests.append((headers, body))
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if answer == "silence":
                    await asyncio.sleep(30)
                if answer == "hang up":
                    return
                status, document = answer
                text = document if isinstance(document, bytes) else json.dumps(document).encode()
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(text), text))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def answers() -> AsyncIterator[Answers]:
    answers = Answers()
    server = await asyncio.start_server(answers.serve, "127.0.0.1", 0)
    answers.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield answers
    server.close()


@pytest.fixture
async def kms(answers: Answers) -> AsyncIterator[AwsKms]:
    def sign(url: str, headers: Mapping[str, str], body: bytes) -> Mapping[str, str]:
        return {**headers, "Authorization": "signed"}

    kms = AwsKms(answers.url, sign, attempt_ms=150, deadline_ms=600)
    yield kms
    await kms.close()


def data_key(key_id: str = KEY) -> tuple[int, dict[str, str]]:
    text = b64encode(SECRET).decode()
    return 200, {"KeyId": key_id, "Plaintext": text, "CiphertextBlob": b64encode(b"wrapped").decode()}


THROTTLED = (400, {"__type": "com.amazonaws.kms#ThrottlingException", "message": "slow down"})


@pytest.mark.parametrize("first", ["silence", "hang up", THROTTLED, (500, b"<html>"), (503, {})])
async def test_what_passes_is_tried_again_within_the_deadline(
    kms: AwsKms, answers: Answers, first: Any
) -> None:
    answers.answers = [first, data_key()]
    assert (await kms.generate_data_key(KEY, b"context")).plain == SECRET
    assert len(answers.requests) == 2


@pytest.mark.parametrize("always", ["silence", "hang up", THROTTLED])
async def test_a_service_that_stays_away_is_unavailable_within_the_deadline(
    kms: AwsKms, answers: Answers, always: Any
) -> None:
    answers.answers = [always]
    started = asyncio.get_running_loop().time()
    with pytest.raises(KeysUnavailableError) as caught:
        await kms.mac(KEY, b"4242424242424242")
    assert asyncio.get_running_loop().time() - started < 1.5
    told = f"{caught.value!r} {caught.value.__cause__!r}"
    assert "NDI0" not in told
    assert "4242" not in told


@pytest.mark.parametrize(
    "error",
    ["AccessDeniedException", "NotFoundException", "DisabledException", "InvalidCiphertextException"],
)
async def test_a_refusal_is_final_and_says_only_its_name(kms: AwsKms, answers: Answers, error: str) -> None:
    answers.answers = [(400, {"__type": error, "message": "arn secret 4242424242424242"})]
    with pytest.raises(KeyUseError, match=error) as caught:
        await kms.unwrap(KEY, b"wrapped", b"context")
    assert not isinstance(caught.value, KeysUnavailableError)
    assert len(answers.requests) == 1
    assert "4242" not in str(caught.value)


async def test_another_key_in_the_answer_is_refused(kms: AwsKms, answers: Answers) -> None:
    """V8 (PCI DSS 3.7.7): no substitution of keys."""
    answers.answers = [data_key(OTHER)]
    for call in (kms.generate_data_key(KEY, b"context"), kms.unwrap(KEY, b"wrapped", b"context")):
        with pytest.raises(KeyUseError, match="another key"):
            await call


async def test_the_context_travels_as_encryption_context_and_the_key_is_named(
    kms: AwsKms, answers: Answers
) -> None:
    answers.answers = [data_key()]
    await kms.generate_data_key(KEY, b'["pm_1"]')
    await kms.unwrap(KEY, b"wrapped", b'["pm_1"]')
    for headers, body in answers.requests:
        assert body["EncryptionContext"] == {"vitrine:record": '["pm_1"]'}
        assert body["KeyId"] == KEY
        assert headers["authorization"] == "signed"


async def test_keys_are_named_by_arn_and_contexts_are_text(kms: AwsKms) -> None:
    for name in ("alias/cards", "11111111-2222-3333-4444-555555555555", "arn:aws:kms:eu:1:alias/cards", ""):
        with pytest.raises(KeyUseError, match="ARN"):
            await kms.generate_data_key(name, b"context")
    with pytest.raises(KeyUseError, match="text"):
        await kms.generate_data_key(KEY, b"\xff")


@pytest.mark.parametrize("answer", [{}, {"KeyId": KEY, "Plaintext": "%%%"}, {"KeyId": KEY, "Plaintext": 5}])
async def test_an_answer_without_its_parts_is_an_error(
    kms: AwsKms, answers: Answers, answer: dict[str, Any]
) -> None:
    answers.answers = [(200, answer)]
    with pytest.raises(KeyUseError):
        await kms.unwrap(KEY, b"wrapped", b"context")


async def test_a_disabled_key_or_one_made_for_another_use_does_not_pass_the_check(
    kms: AwsKms, answers: Answers
) -> None:
    for metadata in (
        {"KeyState": "PendingDeletion", "KeyUsage": "ENCRYPT_DECRYPT"},
        {"KeyState": "Enabled", "KeyUsage": "GENERATE_VERIFY_MAC"},
    ):
        answers.answers = [(200, {"KeyMetadata": metadata})]
        with pytest.raises(KeyUseError):
            await kms.check(KeyKind.KEK, KEY)


def test_v10_the_service_is_only_called_over_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with pytest.raises(KeyUseError, match="https"):
        open_aws_kms("eu-central-1", "http://kms.example.org")


def test_requests_are_signed_over_body_operation_and_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """moto takes any signature, AWS does not: what is signed is what AWS Signature Version 4 asks for."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-canary")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session")
    sign = sigv4_signer("eu-central-1")
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "TrentService.Decrypt"}
    url = "https://kms.eu-central-1.amazonaws.com/"
    one, two = sign(url, headers, b"{}"), sign(url, headers, b"{ }")
    found = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/\d{8}/eu-central-1/kms/aws4_request, "
        r"SignedHeaders=([a-z0-9;-]+), Signature=[0-9a-f]{64}",
        one["Authorization"],
    )
    assert found is not None
    assert {"host", "x-amz-date", "x-amz-target", "content-type"} <= set(found.group(1).split(";"))
    assert one["X-Amz-Security-Token"] == "session"
    assert one["Authorization"] != two["Authorization"]
    assert "secret-canary" not in str(one)


def test_botocore_is_loaded_only_when_a_key_service_is_opened() -> None:
    import subprocess
    import sys

    program = "import sys, wallets.vault.kms_aws; print('botocore' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
