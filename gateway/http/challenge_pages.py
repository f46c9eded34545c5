"""The HTML of the hosted pages: values in, text out. Nothing here decides anything."""

from __future__ import annotations

from html import escape

from gateway.kernel.money import Money
from gateway.orders.action_decisions import ActionView
from gateway.payments.authentication_model import AuthenticationState
from gateway.payments.model import IntentState

_S = AuthenticationState
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{title}</title>
<link rel="stylesheet" href="/pay/assets/challenge.css">
{script}</head>
<body>
<main{attributes}>
{body}
</main>
</body>
</html>
"""
_SCRIPT = '<script src="/pay/assets/challenge.js" defer></script>\n'
_BRANDS = {"visa": "Visa", "mastercard": "Mastercard", "amex": "American Express"}


def approval_page(view: ActionView, payee: str, *, passkey: bool) -> str:
    """The open action: who gets what for which goods, and the ways to approve or deny it."""
    address = f"/pay/challenges/{escape(view.action_id)}"
    # Shown by the script once it knows that this browser can do it.
    by_passkey = (
        '<button type="button" class="go" id="passkey" hidden>Approve with passkey</button>'
        '<p class="note" id="problem" role="alert" hidden></p>'
        if passkey
        else ""
    )
    style, label = ("button", "Use your bank instead") if passkey else ("button go", "Continue to your bank")
    bank = f'<a class="{style}" id="bank" rel="noreferrer" href="{address}/bank">{label}</a>'
    body = (
        '<p class="eyebrow">Approve payment</p>'
        "<h1>Did you start this?</h1>"
        f"{_receipt(view, payee)}"
        f'<div class="ways">{by_passkey}{bank}</div>'
        f'<form method="post" action="{address}/deny"><button class="quiet" id="deny">'
        "No, this was not me</button></form>"
        '<p class="note" id="waiting">Only approve what you are buying right now. '
        "Your headset waits for you.</p>"
        f'<noscript><p class="note"><a href="{address}">Look again</a> after you have decided.</p></noscript>'
    )
    attributes = f' data-action="{address}" data-state="{view.state.value}"'
    return _page("Approve payment", body, script=True, attributes=attributes)


def decided_page(view: ActionView, payee: str, *, enrol: bool) -> str:
    """What became of the action, as the server knows it. A decided action is never offered again."""
    mark, title, text = _told(view)
    address = f"/pay/challenges/{escape(view.action_id)}"
    offer = (
        '<section class="offer" id="offer" hidden><h2>Faster next time?</h2>'
        "<p>Add a passkey on this device and approve with your face, finger or PIN.</p>"
        '<button type="button" id="enrol">Add a passkey</button>'
        '<p class="note" id="problem" role="alert" hidden></p></section>'
        if enrol
        else ""
    )
    body = (
        f'<p class="mark {mark}" aria-hidden="true"></p><h1>{title}</h1><p>{text}</p>'
        f"{_receipt(view, payee)}{offer}"
        '<p class="note">You can close this page and go back to your headset.</p>'
    )
    attributes = (
        f' data-action="{address}" data-state="{view.state.value}" data-payment="{view.payment_state}"'
    )
    return _page(title, body, script=True, attributes=attributes)


def code_page(problem: str = "") -> str:
    """Where a code from the headset is typed."""
    told = f'<p class="note problem" role="alert">{escape(problem)}</p>' if problem else ""
    body = (
        '<p class="eyebrow">Approve payment</p>'
        '<h1><label for="code">Enter the code from your headset</label></h1>'
        '<form method="post" action="/pay" class="code">'
        '<input id="code" name="code" required autofocus maxlength="16" placeholder="XXXX-XXXX" '
        'autocomplete="off" autocapitalize="characters" autocorrect="off" spellcheck="false" '
        f'inputmode="text">{told}<button class="go">Continue</button></form>'
        '<p class="note">The code has eight letters and is valid for ten minutes. '
        "Never enter a code that somebody sent you.</p>"
    )
    return _page("Enter the code", body)


def unknown_page() -> str:
    """For an address that names no action."""
    body = (
        "<h1>This link is not valid</h1><p>Open the link or the code that your headset shows.</p>"
        '<p><a class="button" href="/pay">Enter a code</a></p>'
    )
    return _page("Not valid", body)


def _page(title: str, body: str, *, script: bool = False, attributes: str = "") -> str:
    return _PAGE.format(title=title, body=body, script=_SCRIPT if script else "", attributes=attributes)


def _receipt(view: ActionView, payee: str) -> str:
    lines = "".join(
        f"<li><span>{escape(line.title)}</span>"
        + (f"<span>{line.quantity} &times;</span>" if line.quantity > 1 else "")
        + "</li>"
        for line in view.lines
    )
    brand = _BRANDS.get(view.brand, view.brand)
    card = (
        f'<p class="card">{escape(brand)} &bull;&bull;&bull;&bull; {escape(view.last4)}</p>' if brand else ""
    )
    return (
        f'<section class="receipt"><p class="payee">{escape(payee)}</p>'
        f'<p class="amount">{_amount(view.amount)}</p><ul>{lines}</ul>{card}</section>'
    )


def _amount(amount: Money) -> str:
    return f"{escape(amount.decimal)} <small>{escape(amount.currency)}</small>"


def _told(view: ActionView) -> tuple[str, str, str]:
    """Return mark, title and text of an end."""
    match view.state:
        case _S.AUTHENTICATED | _S.ATTEMPTED:
            return _paid(IntentState(view.payment_state))
        case _S.NOT_AUTHENTICATED:
            return "no", "Not approved", "Nothing was charged."
        case _S.REJECTED:
            return (
                "no",
                "Your bank refused",
                "Nothing was charged. Choose another way to pay on your headset.",
            )
        case _S.UNAVAILABLE:
            return "no", "Your bank could not ask you", "Nothing was charged with this card."
        case _S.EXPIRED:
            return (
                "no",
                "Time is over",
                "Nothing was charged. If you still want it, pay again on your headset.",
            )
        case _S.ABANDONED:
            return (
                "no",
                "Not finished",
                "Nothing was charged. If you still want it, pay again on your headset.",
            )
        case _S.PENDING:
            raise AssertionError("an open action is shown for approval")


def _paid(payment: IntentState) -> tuple[str, str, str]:
    match payment:
        case IntentState.AUTHORIZING | IntentState.REQUIRES_ACTION:
            return "wait", "Approved", "Your payment is being made."
        case IntentState.REQUIRES_CAPTURE | IntentState.SUCCEEDED:
            return "yes", "Approved", "Your payment went through."
        case IntentState.REQUIRES_PAYMENT_METHOD:
            return (
                "no",
                "Your bank declined",
                "You approved, but the payment was declined. Choose another way.",
            )
        case IntentState.CANCELED:
            return "no", "Canceled", "The order was canceled; nothing is charged."
