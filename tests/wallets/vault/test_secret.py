from __future__ import annotations

import copy
import pickle

import pytest

from tests.wallets.vault.shop import card
from wallets.vault.providers import test_cards
from wallets.vault.secret import Secret


def test_a_card_entry_prints_nothing_of_the_card() -> None:
    entry = card()
    for text in (
        repr(entry),
        str(entry),
        f"{entry}",
        f"{entry.number:>30}",
        " ".join(map(str, [entry.security_code])),
    ):
        assert test_cards.VISA not in text
        assert "4242" not in text
        assert "123" not in text
        assert "Lovelace" not in text


def test_a_secret_is_not_pickled_or_copied() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Secret("x"))
    with pytest.raises(TypeError):
        copy.deepcopy(card())


def test_secrets_compare_by_text_and_are_no_keys() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    with pytest.raises(TypeError):
        hash(Secret("a"))
