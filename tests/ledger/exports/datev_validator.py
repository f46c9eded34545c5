"""A check of DATEV batches written from the format's description alone: it imports nothing of the writer.

DATEV-Format 700, category 21, version 13 (developer.datev.de): header of 31 fields, 125 heads, and for each
field of a posting whether it is text or a number, how long it may be and how it looks. No program for this is
offered by the package registries, so it is here.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

# Field number: pattern of what is written, quotes included. Fields that are not named must be empty.
_FIELDS = {
    1: r"(?!0{1,10},00$)\d{1,10},\d{2}",
    2: r'"[SH]"',
    3: r'"[A-Z]{3}"',
    7: r"(?!0{1,9}$)\d{1,9}",
    8: r"(?!0{1,9}$)\d{1,9}",
    9: r'("\d{1,4}")?',
    10: r"\d{4}",
    11: r'"[a-zA-Z0-9$&%*+\-/]{0,36}"',
    14: r'"([^"]|""){0,60}"',
    21: r'("([^"]|""){0,20}")?',
    22: r'("([^"]|""){0,210}")?',
    40: r'("[A-Z]{2}.{0,13}")?',
    41: r"(\d{2},\d{2})?",
    114: r"[01]?",
}
_HEADER = {
    1: r'"EXTF"',
    2: "700",
    3: "21",
    4: '"Buchungsstapel"',
    5: "13",
    6: r"20\d{15}",
    7: "",
    8: r'"[A-Z]{2}"',
    9: r'"[^"]{0,25}"',
    10: r'"[^"]{0,25}"',
    11: r"\d{4,7}",
    12: r"\d{1,5}",
    13: r"20\d{6}",
    14: "[4-8]",
    15: r"20\d{6}",
    16: r"20\d{6}",
    17: r'"([^"]|""){0,30}"',
    18: r'"([A-Z]{2})?"',
    19: "[12]?",
    20: "0|30|40|50|64",
    21: "[01]",
    22: r'"[A-Z]{3}"',
    23: "",
    24: '""',
    25: "",
    26: "",
    27: r'"(\d{2,4})?"',
    28: r"\d{0,4}",
    29: "",
    30: '""',
    31: r'"([^"]|""){0,16}"',
}
_FIRST_HEADS = (
    "Umsatz (ohne Soll/Haben-Kz);Soll/Haben-Kennzeichen;WKZ Umsatz;Kurs;Basis-Umsatz;WKZ Basis-Umsatz;Konto"
)
_LAST_HEADS = "BVV-Position;EU-Land u. UStID (Ursprung);EU-Steuersatz (Ursprung);Abw. Skontokonto"


@dataclass
class Batch:
    """What a batch says, and what is wrong with it."""

    problems: list[str] = field(default_factory=list)
    totals: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    """Debits less credits by account."""
    rows: int = 0
    header: list[str] = field(default_factory=list)
    keys: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """BU keys by contra account."""


def validate(content: bytes) -> Batch:
    """Return what a file says; an empty list of problems means that it is well formed."""
    batch = Batch()
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError as error:
        batch.problems.append(f"not Windows-1252: {error}")
        return batch
    if content[:3] == b"\xef\xbb\xbf":
        batch.problems.append("a byte order mark")
    if not text.endswith("\r\n") or not text.count("\n") == text.count("\r\n") == text.count("\r"):
        batch.problems.append("lines do not end with CR LF")
        return batch
    lines = text.split("\r\n")[:-1]
    if any(re.search(r"[\x00-\x1f]", line) for line in lines):
        batch.problems.append("control characters")
    batch.header = _split(lines[0])
    _match(batch, "header", batch.header, _HEADER, 31)
    heads = lines[1].split(";")
    if len(heads) != 125 or len(set(heads)) != 125:
        batch.problems.append(f"{len(heads)} heads")
    if not lines[1].startswith(_FIRST_HEADS) or not lines[1].endswith(_LAST_HEADS):
        batch.problems.append("the heads are not those of version 13")
    if batch.problems:
        return batch
    year, first, last = (_date(batch.header[number]) for number in (12, 14, 15))
    next_year = date(year.year + 1, year.month, year.day)
    if not year <= first <= last < next_year:
        batch.problems.append(f"{first} to {last} does not lie in the fiscal year from {year}")
    for number, line in enumerate(lines[2:], start=3):
        _posting(batch, number, _split(line), first, last)
    if not 0 < batch.rows <= 99_999:
        batch.problems.append(f"{batch.rows} postings")
    return batch


def _posting(batch: Batch, number: int, fields: list[str], first: date, last: date) -> None:
    batch.rows += 1
    before = len(batch.problems)
    _match(batch, f"line {number}", fields, _FIELDS, 125)
    if len(batch.problems) > before:
        return
    amount = Decimal(fields[0].replace(",", "."))
    account, contra = fields[6], fields[7]
    length = int(batch.header[13])
    if (
        account == contra
        or max(len(account), len(contra)) > length + 1
        or min(len(account), len(contra)) < length
    ):
        batch.problems.append(f"line {number}: accounts {account} and {contra}")
    sign = 1 if fields[1] == '"S"' else -1
    batch.totals[account] += sign * amount
    batch.totals[contra] -= sign * amount
    batch.keys[contra].add(fields[8].strip('"'))
    day, month = int(fields[9][:2]), int(fields[9][2:])
    if not any(_in(year, month, day, first, last) for year in {first.year, last.year}):
        batch.problems.append(f"line {number}: {day:02d}.{month:02d}. is not within the batch")
    if bool(fields[39]) != bool(fields[40]):
        batch.problems.append(f"line {number}: a country without its rate, or the other way round")
    if bool(fields[20]) != bool(fields[21]):
        batch.problems.append(f"line {number}: Beleginfo has an Art without Inhalt, or the other way round")


def _in(year: int, month: int, day: int, first: date, last: date) -> bool:
    try:
        return first <= date(year, month, day) <= last
    except ValueError:
        return False


def _match(batch: Batch, where: str, fields: list[str], patterns: dict[int, str], most: int) -> None:
    if len(fields) != most:
        batch.problems.append(f"{where}: {len(fields)} fields, {most} expected")
        return
    for number, text in enumerate(fields, start=1):
        if not re.fullmatch(patterns.get(number, ""), text):
            batch.problems.append(f"{where}: field {number} is {text!r}")


def _split(line: str) -> list[str]:
    """Split at semicolons outside quotes; quotes stay."""
    return re.findall(r'(?:^|(?<=;))((?:"(?:[^"]|"")*")|[^;]*)', line)


def _date(text: str) -> date:
    return datetime.strptime(text, "%Y%m%d").date()
