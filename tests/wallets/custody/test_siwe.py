"""Messages of EIP-4361: written and read exactly, and nothing else."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime

import pytest
from eth_account import Account
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from tests.wallets.custody.accounts_on_chain import signed
from wallets.custody.proving import digest_of, recovered_address
from wallets.custody.siwe import OtherVersionError, SignInMessage, parse_message, time_ms

ADDRESS = "0x9D7e5B049f5dc02D2A3a744972978e77586520Df"
WHOLE = f"""\
example.com wants you to sign in with your Ethereum account:
{ADDRESS}

Sign in to use the app.

URI: https://example.com
Version: 1
Chain ID: 1
Nonce: AnX5ELrm2ap11uiNE0MR
Issued At: 2022-11-11T23:49:55.928Z
Expiration Time: 2322-01-11T23:49:55.128Z
Not Before: 2015-07-30T12:12:12.928Z
Request ID: 260cbfd5-4d74-42fc
Resources:
- https://example.com/my-web2-claim.json
- ipfs://bafybeiemxf5abjwjbikoz4mc3a3dla6ual3jsgpdr4cjr3oz3evfyavhwq/"""
LEAST = f"""\
example.com wants you to sign in with your Ethereum account:
{ADDRESS}


URI: https://example.com
Version: 1
Chain ID: 1
Nonce: AnX5ELrm2ap11uiNE0MR
Issued At: 2022-11-11T23:49:55.928Z"""

SOMEBODY = Account.from_key(keccak(text="somebody who signs"))


def test_a_message_with_every_field_is_read() -> None:
    assert parse_message(WHOLE) == SignInMessage(
        domain="example.com",
        address=ADDRESS,
        statement="Sign in to use the app.",
        uri="https://example.com",
        chain_id=1,
        nonce="AnX5ELrm2ap11uiNE0MR",
        issued_at="2022-11-11T23:49:55.928Z",
        expiration_time="2322-01-11T23:49:55.128Z",
        not_before="2015-07-30T12:12:12.928Z",
        request_id="260cbfd5-4d74-42fc",
        resources=(
            "https://example.com/my-web2-claim.json",
            "ipfs://bafybeiemxf5abjwjbikoz4mc3a3dla6ual3jsgpdr4cjr3oz3evfyavhwq/",
        ),
    )


def test_a_message_with_the_required_fields_alone_is_read() -> None:
    message = parse_message(LEAST)
    optional = [message.scheme, message.statement, message.expiration_time, message.not_before]
    assert [*optional, message.request_id, message.resources] == [None] * 6
    assert message.text == LEAST


def swapped(text: str, first: str, second: str) -> str:
    lines = text.split("\n")
    one, other = (
        next(at for at, line in enumerate(lines) if line.startswith(word)) for word in (first, second)
    )
    lines[one], lines[other] = lines[other], lines[one]
    return "\n".join(lines)


WRONG = {
    "nothing": "",
    "a line more at the end": WHOLE + "\n",
    "a blank at the end": LEAST + " ",
    "a line before": "\n" + WHOLE,
    "CR LF": WHOLE.replace("\n", "\r\n"),
    "CR": WHOLE.replace("\n", "\r"),
    "another kind of line end": WHOLE.replace("\n", "\u2028"),
    "no domain": WHOLE.removeprefix("example.com"),
    "blank in the domain": "a " + WHOLE,
    "a domain of other letters": "\u0435" + WHOLE[1:],
    "a path in the domain": WHOLE.replace("example.com wants", "example.com/a wants"),
    "two schemes": "https://http://" + WHOLE,
    "an empty scheme": "://" + WHOLE,
    "a bad port": "example.com:80a" + WHOLE.removeprefix("example.com"),
    "a bad address of IP version 6": "[::1::2]" + WHOLE.removeprefix("example.com"),
    "another sentence": WHOLE.replace("Ethereum", "Solana"),
    "a short address": WHOLE.replace(ADDRESS, ADDRESS[:-1]),
    "a long address": WHOLE.replace(ADDRESS, ADDRESS + "0"),
    "an address with 0X": WHOLE.replace("0x9D", "0X9D"),
    "an address that is none": WHOLE.replace("9D7e", "9G7e"),
    "no blank line": WHOLE.replace("\n\nSign", "\nSign"),
    "an empty statement": WHOLE.replace("\nSign in to use the app.\n", "\n\n\n"),
    "two statements": WHOLE.replace("app.\n", "app.\nAnd more.\n"),
    "other letters in the statement": WHOLE.replace("Sign in to", "S\u0456gn in to"),
    "a quote in the statement": WHOLE.replace("the app", 'the "app"'),
    "a tab in the statement": WHOLE.replace("the app", "the\tapp"),
    "no URI": WHOLE.replace("URI: https://example.com\n", ""),
    "a relative URI": WHOLE.replace("URI: https://example.com", "URI: /here"),
    "a blank in the URI": WHOLE.replace("URI: https://example.com", "URI: https://example.com/a b"),
    "a broken escape in the URI": WHOLE.replace("URI: https://example.com", "URI: https://example.com/%2"),
    "a bracket in the URI": WHOLE.replace("URI: https://example.com", "URI: https://example.com/[a]"),
    "a label in small letters": WHOLE.replace("Chain ID", "Chain Id"),
    "no blank after a label": WHOLE.replace("Nonce: ", "Nonce:"),
    "two blanks after a label": WHOLE.replace("Nonce: ", "Nonce:  "),
    "a chain id of letters": WHOLE.replace("Chain ID: 1", "Chain ID: 0x1"),
    "no chain id": WHOLE.replace("Chain ID: 1", "Chain ID: "),
    "a negative chain id": WHOLE.replace("Chain ID: 1", "Chain ID: -1"),
    "a chain id with a zero before": WHOLE.replace("Chain ID: 1", "Chain ID: 01"),
    "a chain id of other digits": WHOLE.replace("Chain ID: 1", "Chain ID: \u0661"),
    "an endless chain id": WHOLE.replace("Chain ID: 1", "Chain ID: " + "1" * 100),
    "a short nonce": WHOLE.replace("AnX5ELrm2ap11uiNE0MR", "AnX5ELr"),
    "a nonce with a hyphen": WHOLE.replace("AnX5ELrm2", "AnX5-Lrm2"),
    "two nonces": WHOLE.replace("\nIssued", "\nNonce: AnX5ELrm2ap11\nIssued"),
    "a second nonce at the end": LEAST + "\nNonce: AnX5ELrm2ap11",
    "no time": WHOLE.replace("2022-11-11T23:49:55.928Z", ""),
    "a time without a zone": WHOLE.replace("55.928Z", "55.928"),
    "a day that is none": WHOLE.replace("2022-11-11", "2022-02-30"),
    "an hour that is none": WHOLE.replace("T23:49", "T24:49"),
    "a time with a blank": WHOLE.replace("11T23", "11 23"),
    "a zone that is none": WHOLE.replace("55.928Z", "55.928+24:00"),
    "expiration after not before": swapped(WHOLE, "Expiration", "Not Before"),
    "resources before the request": swapped(WHOLE, "Request ID", "Resources:"),
    "version after chain": swapped(WHOLE, "Version", "Chain ID"),
    "two expirations": WHOLE.replace(
        "\nNot Before", "\nExpiration Time: 2322-01-11T23:49:55.128Z\nNot Before"
    ),
    "a blank in the request id": WHOLE.replace("4d74", "4d 74"),
    "a slash in the request id": WHOLE.replace("4d74", "4d/74"),
    "a resource without its dash": WHOLE.replace("- ipfs", "ipfs"),
    "a resource that is no URI": WHOLE.replace("- ipfs://", "- "),
    "resources on one line": WHOLE.replace("Resources:\n", "Resources: "),
    "more after the resources": WHOLE + "\nNot Before: 2015-07-30T12:12:12.928Z",
    "an unknown field": LEAST + "\nColour: red",
    "a message beyond all bounds": WHOLE + "\n- https://example.com" * 1000,
}


@pytest.mark.parametrize("what", WRONG)
def test_anything_else_is_refused(what: str) -> None:
    with pytest.raises(ValueError):
        parse_message(WRONG[what])


@pytest.mark.parametrize("version", ["2", "01", "", "1.0", "1 "])
def test_another_version_is_told_apart(version: str) -> None:
    with pytest.raises(OtherVersionError):
        parse_message(WHOLE.replace("Version: 1", f"Version: {version}"))


@pytest.mark.parametrize(
    "changed",
    [
        WHOLE.replace("Resources:\n", "Resources:\n", 1).split("\n- ")[0],
        WHOLE.replace("260cbfd5-4d74-42fc", ""),
        "https://" + WHOLE,
        "user@example.com:8080" + WHOLE.removeprefix("example.com"),
        "[::1]:80" + WHOLE.removeprefix("example.com"),
        "[v7.a:b]" + WHOLE.removeprefix("example.com"),
        WHOLE.replace("URI: https://example.com", "URI: did:key:z6Mk"),
        WHOLE.replace("URI: https://example.com", "URI: https://a/%20?b=c/?d#e/?f"),
        WHOLE.replace("23:49:55.928Z", "23:59:60z"),
        WHOLE.replace("23:49:55.928Z", "23:49:55.1234567+05:30"),
    ],
)
def test_what_the_grammar_allows_is_read_as_it_stands(changed: str) -> None:
    assert parse_message(changed).text == changed


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
        ("2026-11-22T12:00:00.25+01:00", datetime(2026, 11, 22, 11, 0, 0, 250_000, UTC)),
        ("2026-11-22t12:00:00.9999-00:30", datetime(2026, 11, 22, 12, 30, 0, 999_000, UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
    ],
)
def test_times_are_read(text: str, moment: datetime) -> None:
    assert time_ms(text) == round(moment.timestamp() * 1000)


# --- Properties -------------------------------------------------------------------------------------

URIS = st.sampled_from(
    [
        "https://example.com",
        "http://localhost:8080/a?b=c#d",
        "urn:vitrine:customer:cus_1",
        "ipfs://bafy/",
        "a:",
    ]
)
TIMES = st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2900, 1, 1)).map(
    lambda moment: moment.isoformat(timespec="milliseconds") + "Z"
)
ALPHANUMERIC = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
PLAIN = ALPHANUMERIC + "-._~:/?#[]@!$&'()*+,;= "
MESSAGES = st.builds(
    SignInMessage,
    scheme=st.none() | st.sampled_from(["https", "http", "a+b-c.d"]),
    domain=st.sampled_from(["example.com", "localhost:8080", "[::1]:443", "a.b.c.example", "127.0.0.1"]),
    address=st.binary(min_size=20, max_size=20).map(lambda data: "0x" + data.hex()),
    statement=st.none() | st.text(PLAIN, min_size=1, max_size=60),
    uri=URIS,
    chain_id=st.integers(min_value=0, max_value=2**64),
    nonce=st.text(ALPHANUMERIC, min_size=8, max_size=40),
    issued_at=TIMES,
    expiration_time=st.none() | TIMES,
    not_before=st.none() | TIMES,
    request_id=st.none() | st.text(ALPHANUMERIC + "-._~!$&'()*+,;=:@", max_size=20),
    resources=st.none() | st.lists(URIS, max_size=4).map(tuple),
)


@given(MESSAGES)
def test_what_is_written_is_read_back(message: SignInMessage) -> None:
    assert parse_message(message.text) == message


@given(MESSAGES, MESSAGES)
def test_two_messages_have_two_texts(one: SignInMessage, other: SignInMessage) -> None:
    assert (one.text == other.text) == (one == other)


@given(MESSAGES, st.data())
def test_a_changed_text_is_refused_or_says_what_it_says(message: SignInMessage, data: st.DataObject) -> None:
    """Whatever one character is put in, taken out or replaced: what can still be read writes that very text."""
    text = message.text
    at = data.draw(st.integers(0, len(text)))
    kept = data.draw(st.integers(0, 1))
    put = data.draw(
        st.sampled_from(["", "\n", " ", "\r", "\0", "a", "0", ":", "\u00e9", "\u200b", "\nNonce: aaaaaaaa"])
    )
    changed = text[:at] + put + text[at + kept :]
    try:
        read = parse_message(changed)
    except ValueError:
        return
    assert read.text == changed
    if changed != text:
        assert read != message


@given(MESSAGES, st.data())
def test_a_signature_over_one_message_is_not_over_a_changed_one(
    message: SignInMessage, data: st.DataObject
) -> None:
    signature = bytes.fromhex(signed(SOMEBODY, message.text)[2:])
    assert recovered_address(digest_of(message.text), signature) == SOMEBODY.address
    other = data.draw(MESSAGES)
    name = data.draw(st.sampled_from([field.name for field in fields(message)]))
    changed = replace(message, **{name: getattr(other, name)})
    if changed != message:
        assert recovered_address(digest_of(changed.text), signature) != SOMEBODY.address


@given(MESSAGES, st.integers(0, 64), st.integers(0, 7))
def test_a_changed_signature_is_not_the_signers(message: SignInMessage, byte: int, bit: int) -> None:
    signature = bytearray.fromhex(signed(SOMEBODY, message.text)[2:])
    signature[byte] ^= 1 << bit
    assert recovered_address(digest_of(message.text), bytes(signature)) != SOMEBODY.address
