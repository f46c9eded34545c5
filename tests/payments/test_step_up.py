"""The one challenge after a soft decline (P11)."""

from __future__ import annotations

import pytest

from gateway.payments.step_up import Tried, asks_at_once, steps_up
from wallets.vault.port import DeclineClass

SOFT = DeclineClass.SOFT_NEEDS_SCA.value


@pytest.mark.parametrize(
    "decline_class", [one for one in DeclineClass if one is not DeclineClass.SOFT_NEEDS_SCA]
)
def test_only_a_soft_decline_for_authentication_is_stepped_up(decline_class: DeclineClass) -> None:
    assert not steps_up(decline_class, "pm_1", [])
    assert not steps_up(None, "pm_1", [])


def test_p11_a_method_is_stepped_up_once_and_never_again() -> None:
    now = DeclineClass.SOFT_NEEDS_SCA
    assert steps_up(now, "pm_1", [Tried("pm_1", SOFT)])
    assert not steps_up(now, "pm_1", [Tried("pm_1", SOFT), Tried("pm_1", SOFT)])
    # What happened to another method does not count.
    assert steps_up(now, "pm_1", [Tried("pm_2", SOFT), Tried("pm_1", SOFT)])
    assert steps_up(now, "pm_1", [Tried("pm_1", "soft_retry_later"), Tried("pm_1", SOFT)])


def test_a_method_that_was_asked_for_a_challenge_requests_it_at_once_the_next_time() -> None:
    assert asks_at_once("pm_1", [Tried("pm_1", SOFT)])
    assert not asks_at_once("pm_1", [Tried("pm_2", SOFT), Tried("pm_1", None)])
