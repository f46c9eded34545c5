"""The sample catalog's data directory, made once, and a gateway for each story."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.gateway import OpenGateway, opened
from tests.support.seed import SAMPLES, Seed, make_seed


@pytest.fixture
async def shop(seed: Seed, tmp_path: Path) -> AsyncIterator[OpenGateway]:
    """A gateway under quick settings. A story ends with ``await shop.check()``."""
    async with opened(seed, tmp_path / "data") as found:
        yield found


PAYMENTS = """\
  payments:
    pay_link: {hours: 24}
    pay_at_delivery: {EUR: "150.00"}
    refund_elsewhere: {EUR: "100.00"}
    payout: {most: {EUR: "50.00"}, per_day: {EUR: "80.00"}, times_per_day: 3, cooling_hours: 0}
"""


@pytest.fixture(scope="session")
def generous(tmp_path_factory: pytest.TempPathFactory) -> Seed:
    """The first sample merchant, who takes money at the door and sends it to other methods."""
    folder = tmp_path_factory.mktemp("catalog") / "atelier-nord"
    shutil.copytree(SAMPLES / "atelier-nord", folder)
    merchant = folder / "merchant.yaml"
    text = merchant.read_text()
    # In the place of the sample's own, which is less generous.
    changed, found = re.subn(r"^  payments:.*\n(?:    .*\n)+", PAYMENTS, text, flags=re.MULTILINE)
    assert found == 1
    merchant.write_text(changed)
    return make_seed(tmp_path_factory.mktemp("generous") / "data", folder)


@pytest.fixture
async def generous_shop(generous: Seed, tmp_path: Path) -> AsyncIterator[OpenGateway]:
    async with opened(generous, tmp_path / "data") as found:
        yield found
