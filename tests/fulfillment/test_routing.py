from __future__ import annotations

import itertools

import pytest

from fulfillment.routing import LocationStock, route
from gateway.kernel.errors import ConflictError

BERLIN = LocationStock("berlin", "DE", 2, 5)
HAMBURG = LocationStock("hamburg", "DE", 1, 1)
AACHEN = LocationStock("aachen", "DE", 2, 5)
LONDON = LocationStock("london", "GB", 0, 9)


def chosen(*levels: LocationStock, quantity: int = 1, country: str = "DE") -> str:
    return route(levels, sku="lamp", quantity=quantity, destination_country=country).location_code


def test_the_same_country_goes_before_priority() -> None:
    assert chosen(LONDON, BERLIN) == "berlin"
    assert chosen(LONDON, BERLIN, country="GB") == "london"


def test_priority_decides_within_a_country() -> None:
    assert chosen(BERLIN, HAMBURG) == "hamburg"


def test_a_location_without_all_of_the_line_is_passed_over() -> None:
    assert chosen(BERLIN, HAMBURG, quantity=2) == "berlin"
    assert chosen(BERLIN, LONDON, quantity=6) == "london"


def test_priority_decides_where_no_location_is_in_the_country() -> None:
    assert chosen(BERLIN, LONDON, country="FR") == "london"


def test_the_choice_does_not_depend_on_the_order_of_the_levels() -> None:
    every = itertools.permutations([BERLIN, AACHEN, LONDON])
    assert {chosen(*levels) for levels in every} == {"aachen"}


def test_a_line_that_no_single_location_has_is_sold_out() -> None:
    with pytest.raises(ConflictError) as refused:
        chosen(BERLIN, AACHEN, quantity=6)
    assert (refused.value.code, refused.value.data) == (
        "stock.sold_out",
        {"sku": "lamp", "requested": 6, "available": 5},
    )


def test_nowhere_means_sold_out() -> None:
    with pytest.raises(ConflictError) as refused:
        chosen()
    assert refused.value.data["available"] == 0
