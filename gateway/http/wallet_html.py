"""The HTML of the hosted wallet: values in, text out. Only the 3D view needs the script."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from html import escape
from typing import Any

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="/wallet/assets/wallet-icon.svg">
<link rel="stylesheet" href="/wallet/assets/wallet.css">
{script}</head>
<body>
{body}
</body>
</html>
"""
_SCRIPT = '<script type="module" src="/wallet/assets/viewer.js"></script>\n'
_CLOSE = '<form method="post" action="/wallet/close"><button class="quiet">Close</button></form>'
_STATES = {
    "reserved": "Reserved",
    "on_its_way": "On its way",
    "owned": "Yours",
    "undelivered": "Choose another wallet",
    "returning": "Going back",
    "returned": "Given back",
}
_HINTS = {
    "reserved": "It is kept for you until the payment is made.",
    "on_its_way": "It will be in your wallet soon.",
    "undelivered": "Your wallet did not take it. Choose another one on your headset.",
    "returning": "It is on its way back to the shop.",
    "returned": "You gave it back.",
}
_COMING = ("reserved", "on_its_way", "undelivered")
_WALLETS = {
    "custodial": "Kept for you here",
    "linked": "Your own wallet",
    "outside": "In a wallet you have unlinked",
}


def wallet_page(page: Mapping[str, Any], *, is_first: bool) -> str:
    """All items of a page of the wallet, as a grid of pictures."""
    cards = "\n".join(_card(item) for item in page["items"])
    grid = f'<ul class="grid">\n{cards}\n</ul>'
    if not page["items"]:
        grid = '<p class="empty">There is nothing here yet. What you buy will be here.</p>'
    ways = "" if is_first else '<a class="button" href="/wallet">Newest</a>'
    if page["next"] is not None:
        ways += f'<a class="button" rel="next" href="/wallet?after={escape(page["next"])}">Older</a>'
    body = (
        f"<header><h1>Your wallet</h1>{_CLOSE}</header>\n<main>\n{grid}\n"
        f'<nav class="ways" aria-label="Pages">{ways}</nav>\n</main>'
    )
    return _html("Your wallet", body)


def item_page(item: Mapping[str, Any]) -> str:
    """One item: its 3D view, what it is, where it is."""
    title = escape(item["title"])
    hint = _HINTS.get(item["state"], "")
    body = (
        f'<header><a class="button back" href="/wallet">Your wallet</a>{_CLOSE}</header>\n'
        f'<main class="item">\n{_view(item)}\n<div class="about">\n'
        f'<p class="copy">{escape(_copy(item))}</p>\n<h1>{title}</h1>\n'
        f'<p>{_badge(item)} <span class="hint">{hint}</span></p>\n'
        + (f"<p>{escape(item['description'])}</p>\n" if item["description"] else "")
        + f"{_facts(item)}\n</div>\n</main>"
    )
    return _html(item["title"], body, script=bool(item["model_url"]))


def opening_page(address: str) -> str:
    """The button that opens the wallet."""
    return _message(
        "Your wallet",
        "You see what you own for a quarter of an hour, in this browser alone. Nothing can be changed here.",
        f'<form method="post" action="{escape(address)}"><button class="go">Open</button></form>',
    )


def ended_page() -> str:
    """For an address or a session that does not open anything, or not any more."""
    return _message("This page has ended", "Open your wallet on your headset again to get a new address.")


def closed_page() -> str:
    """After the customer closed the wallet."""
    return _message("Closed", "Nobody can look into your wallet from this browser any more.")


def unknown_item_page() -> str:
    """For an address that names no item of this customer."""
    return _message(
        "Not found",
        "There is no such item in your wallet.",
        '<a class="button" href="/wallet">Your wallet</a>',
    )


def _card(item: Mapping[str, Any]) -> str:
    picture = _picture(item, alt="")
    return (
        f'<li><a href="/wallet/items/{escape(item["leg_id"])}"><span class="frame">{picture}</span>'
        f'<span class="title">{escape(item["title"])}</span>'
        f'<span class="line"><span class="copy">{escape(_copy(item))}</span>{_badge(item)}</span></a></li>'
    )


def _picture(item: Mapping[str, Any], alt: str) -> str:
    if item["picture_url"] is None:
        # An item without a picture shows its first letter.
        return f'<span class="letter" aria-hidden="true">{escape(item["title"][:1].upper())}</span>'
    return (
        f'<img src="{escape(item["picture_url"])}" alt="{escape(alt)}" width="512" height="512" '
        'loading="lazy" decoding="async">'
    )


def _view(item: Mapping[str, Any]) -> str:
    picture = _picture(item, alt=item["title"])
    if not item["model_url"]:
        return f'<figure class="view"><div class="stage">{picture}</div></figure>'
    return (
        f'<figure class="view"><div class="stage">{picture}'
        f'<canvas id="model" data-model="{escape(item["model_url"])}" tabindex="0" role="img" '
        f'aria-label="{escape(item["title"])} in 3D. Turn it with the arrow keys, plus and minus to zoom." '
        "hidden></canvas></div>"
        '<figcaption id="how" hidden>Drag to turn, scroll or pinch to zoom.</figcaption></figure>'
    )


def _badge(item: Mapping[str, Any]) -> str:
    text = "Unlinked wallet" if _is_outside(item) else _STATES[item["state"]]
    return f'<span class="state {escape(item["state"])}">{text}</span>'


def _is_outside(item: Mapping[str, Any]) -> bool:
    """Whether a wallet has it that the customer has unlinked: whose that is now is not known here."""
    wallet = item.get("wallet")
    return item["state"] == "owned" and wallet is not None and wallet["kind"] == "outside"


def _copy(item: Mapping[str, Any]) -> str:
    serial, copies = item.get("serial"), item["copies"]
    if serial is not None:
        return f"No. {serial} of {copies}" if copies else f"No. {serial}"
    if copies is not None:
        return "The only one" if copies == 1 else f"One of {copies}"
    return f"{item['quantity']} copies" if item["quantity"] > 1 else "Open edition"


def _facts(item: Mapping[str, Any]) -> str:
    at = datetime.fromisoformat(item["acquired_at"])
    when = "Ordered on" if item["state"] in _COMING else "Received on"
    rows = [("Sold by", escape(item["merchant_name"])), (when, f"{at.day} {at:%B} {at.year}")]
    if item["quantity"] > 1:
        rows.append(("Copies", str(item["quantity"])))
    wallet = item.get("wallet")
    if wallet is not None:
        kept = _WALLETS[wallet["kind"]]
        rows.append(("Wallet", kept + (_code(wallet["address"]) if wallet["address"] else "")))
    else:
        rows.append(("Wallet", "Bound to your account"))
    if item["license"]:
        rows.append(("Licence", escape(item["license"])))
    found = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows)
    return f"<dl>{found}</dl>{_chain(item)}"


def _chain(item: Mapping[str, Any]) -> str:
    if item.get("token_id") is None:
        return ""
    rows = [
        ("Chain", escape(str(item["chain_id"]))),
        ("Contract", _code(item["contract"])),
        ("Token", _code(hex(int(item["token_id"])))),
    ]
    if item["transaction_hash"]:
        rows.append(("Transaction", _code(item["transaction_hash"])))
    if item.get("metadata_url"):
        address = escape(item["metadata_url"])
        rows.append(
            ("Metadata", f'<a href="{address}" target="_blank" rel="noreferrer">What the token says</a>')
        )
    found = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows)
    return f"<details><summary>On the chain</summary><dl>{found}</dl></details>"


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _message(title: str, text: str, way: str = "") -> str:
    body = f'<main class="message"><h1>{escape(title)}</h1><p>{escape(text)}</p>{way}</main>'
    return _html(title, body)


def _html(title: str, body: str, *, script: bool = False) -> str:
    return _PAGE.format(title=escape(title), body=body, script=_SCRIPT if script else "")
