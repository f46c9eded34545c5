"""Where nothing is sent to, and what an answer of a real server becomes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import InvalidError
from gateway.webhooks.egress import Egress, Names, checked_url, is_public
from tests.support.world_server import WorldServer

PRIVATE = [
    "127.0.0.1", "127.255.0.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "192.0.0.8", "192.0.2.1", "192.88.99.1", "198.18.0.1", "203.0.113.9", "224.0.0.1",
    "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b:1::1", "2001::1", "2002:7f00:1::", "2001:db8::1", "3fff::1", "fc00::1",
    "fd12::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "not an address",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "93.184.216.34", "172.32.0.1", "2606:4700:4700::1111", "2a00:1450:4001::1",
          "::ffff:1.1.1.1"]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_special_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hook",
        "ftp://example.com/",
        "http://example.com/",
        "https://",
        "https:///x",
        "https://user@example.com/",
        "https://user:secret@example.com/",
        "https://example.com/#part",
        "https://localhost/",
        "https://x.localhost/",
        "https://metadata.google.internal/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://169.254.169.254/latest/meta-data",
        "https://example.com:99999/",
        "https://example.com:0/",
        "https://exa mple.com/",
        "https://example.com/\r\nx: y",
        "https://bücher.example/",
        "https://[::1",
        "https://example.com/" + "x" * 2000,
    ],
)
def test_addresses_that_cannot_be_registered(url: str) -> None:
    with pytest.raises(InvalidError) as refused:
        checked_url(url, private=False)
    assert refused.value.code == "webhook.address"


def test_a_public_https_address_can_be_registered_and_a_local_one_for_development() -> None:
    assert checked_url("https://game.example:8443/hook?a=b", private=False)
    for url in ("http://127.0.0.1:9/x", "https://localhost/", "http://[::1]:80/"):
        assert checked_url(url, private=True) == url


class Told(Names):
    """Answers look-ups as an attacker's name server does: another address each time."""

    def __init__(self, *answers: list[str]) -> None:
        super().__init__()
        self.answers = list(answers)

    async def addresses(self, host: str, port: int) -> list[str]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def _post(url: str, *, names: Names | None = None, private: bool = False, **named: object) -> object:
    egress = Egress(ManualClock(), private=private, names=names, **named)  # type: ignore[arg-type]
    try:
        return await egress.post(url, [("webhook-id", "n")], b"{}")
    finally:
        await egress.close()


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1"])
async def test_a_name_that_leads_inside_is_not_connected_to(address: str) -> None:
    async with WorldServer() as server:
        answer = await _post(f"https://game.example:{server.port}/", names=Told([address]))
    assert getattr(answer, "error", "") == "address refused"
    assert server.received == []


async def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    answer = await _post("https://game.example/", names=Told(["1.1.1.1", "10.0.0.1"]))
    assert getattr(answer, "error", "") == "address refused"


async def test_the_connection_goes_to_the_address_that_was_checked() -> None:
    """A name whose answer changes between check and connection gains nothing: it is looked up once."""
    names = Told(["192.0.2.1"], ["127.0.0.1"])
    async with WorldServer() as server:
        answer = await _post(f"https://game.example:{server.port}/", names=names)
        assert getattr(answer, "error", "") == "address refused"
        assert names.answers == [["127.0.0.1"]], "asked once"
        assert server.received == []


@pytest.mark.parametrize("host", ["localhost", "2130706433", "0x7f000001", "127.1"])
async def test_other_spellings_of_this_machine_lead_nowhere(host: str) -> None:
    async with WorldServer() as server:
        answer = await _post(f"https://{host}:{server.port}/")
        assert getattr(answer, "status", 0) is None
        assert server.received == []


async def test_redirects_are_not_followed() -> None:
    async with WorldServer() as inside:
        location = {"location": inside.url}
        async with WorldServer(answer=lambda received: (307, location)) as server:
            answer = await _post(server.url, private=True)
        assert getattr(answer, "status", 0) == 307
        assert inside.received == []


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with WorldServer() as proxy, WorldServer() as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        answer = await _post(server.url, private=True)
        assert getattr(answer, "status", 0) == 204
        assert proxy.received == [] and len(server.received) == 1
        assert server.received[0].headers["host"] == f"127.0.0.1:{server.port}"


async def test_a_server_that_does_not_answer_takes_its_time_and_no_more() -> None:
    async with WorldServer(answer=lambda received: None) as server:
        async with asyncio.timeout(2):
            answer = await _post(server.url, private=True, timeout_s=0.1)
    assert getattr(answer, "status", 0) is None and "no answer" in getattr(answer, "error", "")


async def test_nobody_listens() -> None:
    async with WorldServer() as server:
        url = server.url
    answer = await _post(url, private=True)
    assert getattr(answer, "status", 0) is None and getattr(answer, "error", "")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("120", 120_000),
        ("Tue, 22 Sep 2026 01:33:20 GMT", None),
        ("soon", None),
        ("-5", None),
        ("9" * 30, 10**10),
        ("Sun, 99 Zzz 2026", None),
    ],
)
async def test_retry_after_is_read_or_left(value: str, expected: int | None) -> None:
    async with WorldServer(answer=lambda received: (503, {"Retry-After": value})) as server:
        answer = await _post(server.url, private=True)
    found = getattr(answer, "retry_after_ms", None)
    if value.endswith("GMT"):
        assert found is not None and found >= 0
    else:
        assert found == expected


@pytest.fixture
async def endless() -> AsyncIterator[int]:
    """A server whose answer has a good head and a body without end."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n")
            while True:
                writer.write(b"x" * 1024)
                await writer.drain()
                await asyncio.sleep(0.001)
        except (ConnectionError, asyncio.CancelledError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield int(server.sockets[0].getsockname()[1])
    server.close()


async def test_an_answer_without_end_is_an_answer(endless: int) -> None:
    async with asyncio.timeout(5):
        answer = await _post(f"http://127.0.0.1:{endless}/", private=True)
    assert getattr(answer, "status", 0) == 200


async def test_callers_who_give_up_do_not_end_the_look_up_of_others() -> None:
    names = Names()
    first = asyncio.create_task(names.addresses("localhost", 80))
    second = asyncio.create_task(names.addresses("localhost", 80))
    await asyncio.sleep(0)
    first.cancel()
    assert set(await second) <= {"127.0.0.1", "::1"}
    names.close()


async def test_tls_checks_the_name_and_the_authority(tmp_path: Path) -> None:
    """Without a certificate that the system trusts nothing is sent."""
    received = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read(100))
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*_self_signed(tmp_path))
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    answer = await _post(f"https://localhost:{port}/", private=True)
    assert getattr(answer, "status", 0) is None
    assert received in ([], [b""])
    server.close()


def _self_signed(folder: Path) -> tuple[Path, Path]:
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "cert.pem", folder / "key.pem"
