"""The seeds of stories that decide by chance."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence

_THIS_RUN = "VITRINE_SEED_OF_THIS_RUN"


def choose_seed() -> None:
    """Choose the seed of this run, once for all its processes: they must collect tests of the same names."""
    os.environ.setdefault(_THIS_RUN, str(random.SystemRandom().randrange(2**32)))


def seeds(failed: Sequence[int] = ()) -> list[int]:
    """Return what to run with: the seed in ``VITRINE_TEST_SEED``, or those that failed once and a new one."""
    given = os.environ.get("VITRINE_TEST_SEED")
    return [int(given)] if given else [*failed, int(os.environ[_THIS_RUN])]
