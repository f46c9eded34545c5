"""The HTML of a pay link's page: values in, text out. It needs no script and says nothing of the customer."""

from __future__ import annotations

from html import escape

from gateway.commands.pay_links import LinkPage
from gateway.kernel.money import Money
from gateway.payments.pay_links import PAGE_PATH, PayLinkState

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
{refresh}<title>{title}</title>
<link rel="stylesheet" href="/pay/assets/challenge.css">
<link rel="stylesheet" href="/pay/assets/pay-link.css">
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""
_BRANDS = {"visa": "Visa", "mastercard": "Mastercard", "amex": "American Express"}
_CARD_FORM = """<form method="post" action="{address}/card-test" class="card-form" autocomplete="off">
<label class="wide" for="number">Card number</label>
<input class="wide" id="number" name="number" inputmode="numeric" required maxlength="23" \
placeholder="1234 5678 9012 3456">
<label for="expiry">Expires</label><label for="code">Security code</label>
<input id="expiry" name="expiry" inputmode="numeric" required maxlength="7" placeholder="MM/YY" \
pattern="\\s*(0?[1-9]|1[0-2])\\s*/?\\s*(20)?[0-9][0-9]\\s*">
<input id="code" name="code" inputmode="numeric" required maxlength="4" placeholder="123" \
pattern="[0-9]{{3,4}}">
<button class="go wide">Pay {amount}</button>
</form>
<p class="note">Test cards only: this shop runs in its own sandbox, and no real money moves.</p>"""
_STALE_S = 2
"""How often the page looks again while an answer is awaited."""


def link_page(token: str, page: LinkPage, *, cards_here: bool, problem: str = "") -> str:
    """Return the page as the link stands now."""
    view = page.view
    if view.state is PayLinkState.PAID:
        return _told(page, "yes", "Paid", f"{escape(page.payee)} has received your payment. Thank you.")
    if view.action_url is not None:
        body = (
            "<h1>Confirm with your bank</h1><p>Your bank wants to know that this is you.</p>"
            f"{_receipt(page)}"
            f'<a class="button go" rel="noreferrer" href="{escape(view.action_url)}">'
            "Continue to your bank</a>"
            f'<p class="note"><a href="{PAGE_PATH}{escape(token)}">Look again</a> afterwards.</p>'
        )
        return _html("Confirm with your bank", body)
    if view.under_way:
        return _told(page, "wait", "One moment", "The payment is being checked.", refresh_s=_STALE_S)
    if view.state is not PayLinkState.OPEN:
        return _told(page, "no", "This link has ended", "Ask for a new one if you still want to pay.")
    if not view.is_payable:
        return _told(page, "no", "Nothing to pay", "This order is paid, or is not wanted any more.")
    if not problem and view.declined:
        problem = "The payment was declined. Nothing was charged; you can try another card."
    warning = f'<p class="note problem" role="alert">{escape(problem)}</p>' if problem else ""
    ways = _CARD_FORM if cards_here else _entered(token, page)
    address = f"{PAGE_PATH}{escape(token)}"
    body = (
        f'<p class="eyebrow">Payment request</p><h1>Pay for this order</h1>'
        f"{_receipt(page)}{warning}"
        f"{ways.format(address=address, amount=_money(view.amount)) if cards_here else ways}"
    )
    return _html("Pay", body)


def leaving_page(url: str) -> str:
    """On the way to the page where the vault takes the card."""
    body = (
        "<h1>Enter your card</h1><p>Cards are entered on a page of their own, apart from the shop.</p>"
        f'<a class="button go" rel="noreferrer" href="{escape(url)}">Continue</a>'
    )
    return _html(
        "Enter your card", body, refresh=f'<meta http-equiv="refresh" content="0;url={escape(url)}">\n'
    )


def unknown_link_page() -> str:
    """For an address that names no link."""
    return _html("Not valid", "<h1>This link is not valid</h1><p>Ask whoever sent it for a new one.</p>")


def _entered(token: str, page: LinkPage) -> str:
    address = f"{PAGE_PATH}{escape(token)}"
    cards = "".join(
        f'<form method="post" action="{address}/pay">'
        f'<input type="hidden" name="method" value="{escape(method.payment_method_id)}">'
        f'<button class="go">Pay {_money(page.view.amount)} with '
        f"{escape(_BRANDS.get(method.brand, method.brand))} &bull;&bull;&bull;&bull; {escape(method.last4)}"
        "</button></form>"
        for method in page.methods
    )
    style, label = ("button", "Use another card") if page.methods else ("go", "Enter a card")
    return (
        f'<div class="ways">{cards}<form method="post" action="{address}/card">'
        f'<button class="{style}">{label}</button></form></div>'
    )


def _told(page: LinkPage, mark: str, title: str, text: str, *, refresh_s: int = 0) -> str:
    body = f'<p class="mark {mark}" aria-hidden="true"></p><h1>{title}</h1><p>{text}</p>{_receipt(page)}'
    refresh = f'<meta http-equiv="refresh" content="{refresh_s}">\n' if refresh_s else ""
    return _html(title, body, refresh=refresh)


def _receipt(page: LinkPage) -> str:
    lines = "".join(
        f"<li><span>{escape(title)}</span>" + (f"<span>{many} &times;</span>" if many > 1 else "") + "</li>"
        for title, many in page.view.lines
    )
    return (
        f'<div class="receipt"><p class="payee">{escape(page.payee)}</p>'
        f'<p class="amount">{_money(page.view.amount)}</p><ul>{lines}</ul></div>'
    )


def _money(amount: Money) -> str:
    return escape(str(amount))


def _html(title: str, body: str, *, refresh: str = "") -> str:
    return _PAGE.format(title=escape(title), body=body, refresh=refresh)
