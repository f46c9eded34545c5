"""The body of ACP's ``delegate_payment`` (version 2026-04-17): names, types and limits, nothing more allowed.

Errors name the place as a JSONPath and never the value.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError

Text = Annotated[StrictStr, Field(max_length=512)]
Metadata = Annotated[dict[Annotated[StrictStr, Field(max_length=128)], Text], Field(max_length=50)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(***)"

    __str__ = __repr__


class PaymentMethodCard(_Strict):
    type: Literal["card"]
    card_number_type: Literal["fpan", "network_token"]
    number: Annotated[StrictStr, Field(min_length=1, max_length=19)]
    display_card_funding_type: Literal["credit", "debit", "prepaid"]
    metadata: Metadata
    virtual: StrictBool = False
    exp_month: Annotated[StrictStr, Field(pattern=r"^(0[1-9]|1[0-2])$")] | None = None
    exp_year: Annotated[StrictStr, Field(pattern=r"^[0-9]{4}$")] | None = None
    name: Text | None = None
    cvc: Annotated[StrictStr, Field(max_length=4)] | None = None
    cryptogram: Text | None = None
    eci_value: Annotated[StrictStr, Field(max_length=2)] | None = None
    checks_performed: Annotated[list[Literal["avs", "cvv", "ani", "auth0"]], Field(max_length=4)] | None = (
        None
    )
    iin: Annotated[StrictStr, Field(max_length=8)] | None = None
    display_wallet_type: Text | None = None
    display_brand: Text | None = None
    display_last4: Annotated[StrictStr, Field(pattern=r"^[0-9]{4}$")] | None = None


class AllowanceBody(_Strict):
    reason: Literal["one_time"]
    max_amount: Annotated[StrictInt, Field(ge=1, le=2**53 - 1)]
    currency: Annotated[StrictStr, Field(pattern=r"^[a-z]{3}$")]
    checkout_session_id: Annotated[StrictStr, Field(min_length=1, max_length=256)]
    merchant_id: Annotated[StrictStr, Field(min_length=1, max_length=256)]
    expires_at: Annotated[StrictStr, Field(max_length=40)]


class Address(_Strict):
    name: Annotated[StrictStr, Field(max_length=256)]
    line_one: Annotated[StrictStr, Field(max_length=60)]
    city: Annotated[StrictStr, Field(max_length=60)]
    state: Text
    country: Annotated[StrictStr, Field(min_length=2, max_length=2)]
    postal_code: Annotated[StrictStr, Field(max_length=20)]
    line_two: Annotated[StrictStr, Field(max_length=60)] | None = None


class RiskSignal(_Strict):
    type: Literal["card_testing"]
    score: StrictInt
    action: Literal["blocked", "manual_review", "authorized"]


class DelegatePayment(_Strict):
    payment_method: PaymentMethodCard
    allowance: AllowanceBody
    risk_signals: Annotated[list[RiskSignal], Field(min_length=1, max_length=20)]
    metadata: Metadata
    billing_address: Address | None = None


class MisfitError(Exception):
    """The body does not have this form."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param
        self.message = message


def parse(document: Any) -> DelegatePayment:
    """Return the body. An optional member may be absent, not null. Raises MisfitError for the first fault."""
    try:
        parsed = DelegatePayment.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise MisfitError(_path(first["loc"]), _MESSAGES.get(first["type"], "Not as it must be.")) from None
    null = _null_in(document, "$")
    if null is not None:
        raise MisfitError(null, "Must not be null; leave it out.")
    return parsed


_MESSAGES = {
    "missing": "Is missing.",
    "extra_forbidden": "Is not known here.",
    "literal_error": "Is none of the values that are allowed.",
    "string_type": "Must be a text.",
    "int_type": "Must be a whole number.",
    "bool_type": "Must be true or false.",
    "string_too_long": "Is too long.",
    "too_short": "Needs at least one.",
}


def _path(location: tuple[int | str, ...]) -> str:
    path = "$"
    for part in location:
        # The name of a member that is not known is the caller's text, and may be anything.
        known = isinstance(part, int) or part in _NAMES
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if known else ""
    return path


_NAMES = {
    name
    for model in (DelegatePayment, PaymentMethodCard, AllowanceBody, Address, RiskSignal)
    for name in model.model_fields
}


def _null_in(value: Any, path: str) -> str | None:
    if value is None:
        return path
    items: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        items = [(f"{path}.{name}" if name in _NAMES else path, item) for name, item in value.items()]
    elif isinstance(value, list):
        items = [(f"{path}[{place}]", item) for place, item in enumerate(value)]
    for inner, item in items:
        found = _null_in(item, inner)
        if found is not None:
            return found
    return None
