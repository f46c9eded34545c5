from __future__ import annotations

import pytest

from gateway.kernel.errors import (
    ConflictError,
    ErrorClass,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    UnavailableError,
    VitrineError,
)


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        (ConflictError, ErrorClass.FIX),
        (InvalidError, ErrorClass.FIX),
        (NotFoundError, ErrorClass.FIX),
        (ForbiddenError, ErrorClass.FATAL),
        (UnavailableError, ErrorClass.RETRY),
    ],
)
def test_each_kind_says_what_a_client_should_do(kind, advice):
    error = kind("some.code", "A message.")
    assert isinstance(error, VitrineError)
    assert error.error_class is advice
    assert str(error) == "some.code: A message."


def test_one_error_may_give_other_advice_than_its_kind():
    error = ConflictError("payment.challenge", "Authenticate.", error_class=ErrorClass.SCA)
    assert error.error_class is ErrorClass.SCA
    assert ConflictError("a.b", "").error_class is ErrorClass.FIX


def test_the_data_of_an_error_is_its_own_copy():
    data = {"sku": "LAMP"}
    error = ConflictError("stock.sold_out", "Sold out.", data=data, param="$.lines[0]", retry_after_ms=5)
    data["sku"] = "other"
    assert error.data == {"sku": "LAMP"}
    assert (error.param, error.retry_after_ms) == ("$.lines[0]", 5)
