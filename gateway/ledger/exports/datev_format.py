"""DATEV-Format, header version 700, category 21 (Buchungsstapel), version 13: its line of heads and its
fields.

Source: developer.datev.de, "DATEV-Format: Buchungsstapel". Text is quoted with quotes doubled, numbers are
not; semicolons, CR LF, Windows-1252, decimal comma, no control characters.
"""

from __future__ import annotations

import re
from datetime import date, datetime

COLUMNS: tuple[str, ...] = (
    "Umsatz (ohne Soll/Haben-Kz)",
    "Soll/Haben-Kennzeichen",
    "WKZ Umsatz",
    "Kurs",
    "Basis-Umsatz",
    "WKZ Basis-Umsatz",
    "Konto",
    "Gegenkonto (ohne BU-Schlüssel)",
    "BU-Schlüssel",
    "Belegdatum",
    "Belegfeld 1",
    "Belegfeld 2",
    "Skonto",
    "Buchungstext",
    "Postensperre",
    "Diverse Adressnummer",
    "Geschäftspartnerbank",
    "Sachverhalt",
    "Zinssperre",
    "Beleglink",
    *(f"Beleginfo - {part} {number}" for number in range(1, 9) for part in ("Art", "Inhalt")),
    "KOST1 - Kostenstelle",
    "KOST2 - Kostenstelle",
    "Kost-Menge",
    "EU-Land u. UStID (Bestimmung)",
    "EU-Steuersatz (Bestimmung)",
    "Abw. Versteuerungsart",
    "Sachverhalt L+L",
    "Funktionsergänzung L+L",
    "BU 49 Hauptfunktionstyp",
    "BU 49 Hauptfunktionsnummer",
    "BU 49 Funktionsergänzung",
    *(f"Zusatzinformation - {part} {number}" for number in range(1, 21) for part in ("Art", "Inhalt")),
    "Stück",
    "Gewicht",
    "Zahlweise",
    "Forderungsart",
    "Veranlagungsjahr",
    "Zugeordnete Fälligkeit",
    "Skontotyp",
    "Auftragsnummer",
    "Buchungstyp",
    "USt-Schlüssel (Anzahlungen)",
    "EU-Land (Anzahlungen)",
    "Sachverhalt L+L (Anzahlungen)",
    "EU-Steuersatz (Anzahlungen)",
    "Erlöskonto (Anzahlungen)",
    "Herkunft-Kz",
    "Buchungs GUID",
    "KOST-Datum",
    "SEPA-Mandatsreferenz",
    "Skontosperre",
    "Gesellschaftername",
    "Beteiligtennummer",
    "Identifikationsnummer",
    "Zeichnernummer",
    "Postensperre bis",
    "Bezeichnung SoBil-Sachverhalt",
    "Kennzeichen SoBil-Buchung",
    "Festschreibung",
    "Leistungsdatum",
    "Datum Zuord. Steuerperiode",
    "Fälligkeit",
    "Generalumkehr (GU)",
    "Steuersatz",
    "Land",
    "Abrechnungsreferenz",
    "BVV-Position",
    "EU-Land u. UStID (Ursprung)",
    "EU-Steuersatz (Ursprung)",
    "Abw. Skontokonto",
)
ENCODING = "cp1252"
_PLACES = {name: place for place, name in enumerate(COLUMNS)}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DOCUMENT_NUMBER = re.compile(r"[^A-Za-z0-9$&%*+/-]")


def text(value: str, most: int) -> str:
    """Return a text field: no control characters, at most so many characters, quoted."""
    return '"' + _CONTROL.sub(" ", value)[:most].replace('"', '""') + '"'


def document_number(value: str) -> str:
    """Return a Belegfeld 1: at most 36 of the characters that it may have."""
    return text(_DOCUMENT_NUMBER.sub("-", value), 36)


def header(
    *,
    created: datetime,
    adviser: int,
    client: int,
    fiscal_year: date,
    account_length: int,
    first: date,
    last: date,
    label: str,
    locked: bool,
    chart: str,
) -> str:
    """Return the first line: 31 fields. ``created`` in UTC; ``chart`` is ``03`` or ``04``."""
    stamp = f"{created:%Y%m%d%H%M%S}{created.microsecond // 1000:03d}"
    return ";".join(
        (
            *('"EXTF"', "700", "21", '"Buchungsstapel"', "13", stamp, "", '"VT"', '""', '""'),
            *(str(adviser), str(client), f"{fiscal_year:%Y%m%d}", str(account_length)),
            *(f"{first:%Y%m%d}", f"{last:%Y%m%d}", text(label, 30), '""', "1", "0", str(int(locked))),
            *('"EUR"', "", '""', "", "", f'"{chart}"', "", "", '""', '""'),
        )
    )


def heads() -> str:
    """Return the second line."""
    return ";".join(COLUMNS)


def row(fields: dict[str, str]) -> str:
    """Return a posting's line; the fields, by head, are written already."""
    line = [""] * len(COLUMNS)
    for name, value in fields.items():
        line[_PLACES[name]] = value
    return ";".join(line)
