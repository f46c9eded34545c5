"""The dated data of networks: every code, and every mistake a file can have (P10, P11, P12)."""

from __future__ import annotations

from datetime import date

import pytest

from wallets.vault import declines
from wallets.vault.decline_data import (
    ANY,
    Blocks,
    Cap,
    DeclineDataError,
    load_caps,
    load_declines,
    parse_caps,
    parse_declines,
)
from wallets.vault.port import DeclineClass, MethodKind

NEVER, LATER, FIX, SCA, FRAUD = (
    DeclineClass.HARD_NEVER,
    DeclineClass.SOFT_RETRY_LATER,
    DeclineClass.FIX_DATA,
    DeclineClass.SOFT_NEEDS_SCA,
    DeclineClass.FRAUD_HOLD,
)
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

P11_VISA_NEVER = ("04", "07", "12", "14", "15", "41", "43", "46", "57", "R0", "R1", "R3")


@pytest.mark.parametrize("code", P11_VISA_NEVER)
def test_p11_visa_category_1_is_never_tried_again(code: str) -> None:
    ruling = declines.ruling("visa", code)
    assert ruling.decline_class is NEVER
    assert ruling.blocks not in (Blocks.NONE, Blocks.ORDER)
    source = declines.TABLE.codes["visa", code].source
    assert source.title.startswith("Visa decline response categories")


@pytest.mark.parametrize(("advice", "blocks"), [("03", Blocks.CARD), ("21", Blocks.MERCHANT_INITIATED)])
@pytest.mark.parametrize("code", ["05", "51", "??"])
def test_p11_mastercard_advice_03_and_21_is_never_tried_again(code: str, advice: str, blocks: Blocks) -> None:
    ruling = declines.ruling("mastercard", code, advice)
    assert (ruling.decline_class, ruling.blocks) == (NEVER, blocks)
    # Advice is the network's own: on a Visa card the same figure means nothing.
    assert declines.ruling("visa", code, advice) == declines.ruling("visa", code)


@pytest.mark.parametrize(
    ("advice", "wait_ms"),
    [
        ("24", HOUR_MS),
        ("25", DAY_MS),
        ("26", 2 * DAY_MS),
        ("27", 4 * DAY_MS),
        ("28", 6 * DAY_MS),
        ("29", 8 * DAY_MS),
        ("30", 10 * DAY_MS),
    ],
)
def test_p11_mastercard_advice_24_to_30_says_how_long_to_wait(advice: str, wait_ms: int) -> None:
    ruling = declines.ruling("mastercard", "05", advice)
    assert (ruling.decline_class, ruling.wait_ms, ruling.counts) == (LATER, wait_ms, True)


@pytest.mark.parametrize(
    ("network", "code", "expected"),
    [
        *((network, code, LATER) for network in ("visa", "mastercard") for code in ("51", "61", "91", "96")),
        ("visa", "65", LATER),
        ("mastercard", "65", SCA),
        ("visa", "1A", SCA),
        *((network, code, FIX) for network in ("visa", "mastercard") for code in ("54", "55", "N7")),
        ("visa", "59", FRAUD),
        ("mastercard", "83", FRAUD),
        ("amex", "116", LATER),
        ("amex", "122", FIX),
        ("amex", "130", SCA),
        ("amex", "200", NEVER),
    ],
)
def test_p11_the_other_codes_have_their_class(network: str, code: str, expected: DeclineClass) -> None:
    assert declines.classify(network, code) is expected


@pytest.mark.parametrize(
    ("code", "expected", "blocks"),
    [
        ("AC01", FIX, Blocks.NONE),
        ("AC04", NEVER, Blocks.CARD),
        ("AC06", NEVER, Blocks.CARD),
        ("AM04", LATER, Blocks.NONE),
        ("AM05", NEVER, Blocks.ORDER),
        ("MD01", NEVER, Blocks.MERCHANT),
        ("MD06", NEVER, Blocks.MERCHANT),
        ("MS02", NEVER, Blocks.ORDER),
        ("MS03", NEVER, Blocks.ORDER),
        ("FOCR", NEVER, Blocks.ORDER),
    ],
)
def test_p12_reasons_of_account_payments_have_the_same_classes(
    code: str, expected: DeclineClass, blocks: Blocks
) -> None:
    ruling = declines.ruling(declines.network_of(MethodKind.SEPA_DEBIT, "SEPA"), code)
    assert (ruling.decline_class, ruling.blocks) == (expected, blocks)


@pytest.mark.parametrize("network", ["visa", "mastercard", "amex", "other", "iso20022"])
@pytest.mark.parametrize("code", ["ZZ", "", "??"])
def test_p10_without_advice_an_unlisted_code_is_not_tried_again(network: str, code: str) -> None:
    ruling = declines.ruling(network, code)
    assert (ruling.decline_class, ruling.blocks, ruling.counts) == (NEVER, Blocks.ORDER, True)
    assert declines.ruling(network, code, "00") == ruling


def test_p11_a_code_that_blocks_the_card_or_asks_for_the_customer_goes_before_advice() -> None:
    assert declines.ruling("mastercard", "41", "02").blocks is Blocks.CARD
    assert declines.classify("mastercard", "65", "01") is SCA
    assert declines.classify("mastercard", "05", "02") is LATER


@pytest.mark.parametrize(
    "entry",
    [*declines.TABLE.codes.values(), *declines.TABLE.advice.values()],
    ids=lambda entry: f"{entry.network}-{entry.code}",
)
def test_p11_every_entry_names_its_source_and_date_and_is_what_a_lookup_answers(entry) -> None:
    assert entry.meaning and entry.source.title
    assert date(2000, 1, 1) < entry.source.stated <= entry.source.read
    is_advice = (entry.network, entry.code) in declines.TABLE.advice
    found = (
        declines.ruling(entry.network, "ZZ", entry.code)
        if is_advice
        else declines.ruling(entry.network, entry.code)
    )
    assert found == entry.ruling
    if entry.ruling.wait_ms:
        assert entry.ruling.decline_class is LATER
    if entry.ruling.decline_class in (LATER, FIX, SCA):
        assert entry.ruling.blocks is Blocks.NONE


def test_p11_the_caps_of_networks() -> None:
    assert declines.caps_of("visa") == (Cap(15, 30 * DAY_MS),)
    assert declines.caps_of("mastercard") == (Cap(10, DAY_MS), Cap(35, 30 * DAY_MS))
    assert declines.caps_of("jcb") == declines.caps_of(ANY) == (Cap(15, 30 * DAY_MS),)


CAPS = """
[sources]
s = { title = "S", stated = 2021-01-01, read = 2026-01-01 }
t = { title = "T", stated = 2025-05-19, read = 2026-01-01 }
[[cap]]
network = "any"
most = 15
within_hours = 720
source = "s"
newer = { most = 20, source = "t" }
"""


def test_p11_a_newer_cap_is_chosen_by_one_word() -> None:
    assert parse_caps(CAPS)[ANY] == (Cap(15, 30 * DAY_MS),)
    assert parse_caps(CAPS + 'use = "newer"')[ANY] == (Cap(20, 30 * DAY_MS),)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("most = 15", "most = 0"), "cap 1: most must be a whole number above 0"),
        (("within_hours = 720", "within_hours = 1.5"), "cap 1: within_hours"),
        (('source = "s"\n', ""), "cap 1: without source"),
        (('source = "s"\n', 'source = "x"\n'), "cap 1: source 'x' is not listed"),
        (('network = "any"', 'network = "visa"'), "no cap for the network 'any'"),
        (('source = "t"', 'source = "u"'), "cap 1: newer: source 'u'"),
        (("[[cap]]", "[[cup]]"), "unknown cup"),
        (("[[cap]]", "[[cap"), "retry_caps.toml: "),
        (("stated = 2021-01-01", 'stated = "2021"'), "source s: needs a title and the dates"),
        (('source = "s"\n', 'source = "s"\nuse = "latest"\n'), "use is 'latest'"),
    ],
)
def test_a_mistake_in_the_caps_is_named(change: tuple[str, str], named: str) -> None:
    assert change[0] in CAPS
    with pytest.raises(DeclineDataError, match="retry_caps") as caught:
        parse_caps(CAPS.replace(*change, 1))
    assert named in str(caught.value)


DECLINES = """
unlisted = { class = "hard_never", blocks = "order" }
[sources]
s = { title = "S", stated = 2021-01-01, read = 2026-01-01 }
[[code]]
network = "visa"
class = "hard_never"
blocks = "card"
source = "s"
codes = { "04" = "Pick up" }
"""


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (('class = "hard_never"\nblocks', 'class = "never"\nblocks'), "code 1: 'never' is not a valid"),
        (('blocks = "card"', 'blocks = "all"'), "code 1: 'all' is not a valid"),
        (('source = "s"', 'source = "x"'), "code 1: source 'x' is not listed"),
        (('{ "04" = "Pick up" }', "{}"), "code 1: no codes"),
        (('"Pick up"', '""'), "visa 04 says not what it means"),
        (('source = "s"\n', 'source = "s"\nwait = 1\n'), "code 1: unknown wait"),
        (('source = "s"\n', 'source = "s"\nwait_hours = 0\n'), "code 1: wait_hours"),
        (('source = "s"\n', 'source = "s"\ncounts = 1\n'), "code 1: counts is true or false"),
        (('unlisted = { class = "hard_never", blocks = "order" }', ""), "unlisted: without blocks, class"),
    ],
)
def test_a_mistake_in_the_codes_is_named(change: tuple[str, str], named: str) -> None:
    assert change[0] in DECLINES
    with pytest.raises(DeclineDataError, match="declines") as caught:
        parse_declines(DECLINES.replace(*change, 1))
    assert named in str(caught.value)


def test_a_code_is_listed_once() -> None:
    group = DECLINES[DECLINES.index("[[code]]") :]
    with pytest.raises(DeclineDataError, match="code 2: visa 04 is listed twice"):
        parse_declines(DECLINES + group)


def test_the_files_of_the_program_are_read() -> None:
    assert len(load_declines().codes) > 50
    assert ANY in load_caps()


def test_every_class_has_a_message_for_people() -> None:
    for decline_class in DeclineClass:
        told = declines.classified("99", decline_class, "01")
        assert (told.code, told.decline_class, told.advice) == ("99", decline_class, "01")
        assert told.message.endswith(".") and "99" not in told.message
