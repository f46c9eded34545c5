"""How often short codes may be guessed (RFC 8628 section 5.1)."""

from __future__ import annotations

from gateway.http.challenge_limits import WINDOW_MS, CodeGuesses


def test_an_address_waits_after_its_wrong_codes_and_another_does_not() -> None:
    guesses = CodeGuesses(per_address=3)
    assert [guesses.begin("192.0.2.1", at_ms) for at_ms in (0, 10, 20)] == [0, 0, 0]
    assert guesses.begin("192.0.2.1", 30) == WINDOW_MS - 30
    assert guesses.begin("192.0.2.2", 30) == 0
    # The window begins anew.
    assert guesses.begin("192.0.2.1", WINDOW_MS) == 0
    assert guesses.begin("192.0.2.1", WINDOW_MS) == 0


def test_a_right_code_does_not_count() -> None:
    guesses = CodeGuesses(per_address=2, all_addresses=2)
    for _ in range(5):
        assert guesses.begin("192.0.2.1", 0) == 0
        guesses.right("192.0.2.1")
    assert guesses.begin("192.0.2.1", 0) == 0


def test_codes_tried_at_once_count_before_the_first_is_found_wrong() -> None:
    guesses = CodeGuesses(per_address=10)
    begun = [guesses.begin("192.0.2.1", 0) for _ in range(200)]
    assert begun.count(0) == 10


def test_a_whole_ipv6_network_is_one_address() -> None:
    guesses = CodeGuesses(per_address=1)
    assert guesses.begin("2001:db8:1:2::1", 0) == 0
    assert guesses.begin("2001:db8:1:2:ffff::9", 1) > 0
    assert guesses.begin("2001:db8:1:3::1", 1) == 0


def test_all_addresses_together_have_a_limit() -> None:
    guesses = CodeGuesses(per_address=10, all_addresses=5)
    for number in range(5):
        assert guesses.begin(f"192.0.2.{number}", 0) == 0
    assert guesses.begin("198.51.100.1", 1) > 0
    assert guesses.begin("198.51.100.1", WINDOW_MS) == 0
