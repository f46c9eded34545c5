"""Numbers in the settings that cannot be meant are refused by name, before anything opens."""

from __future__ import annotations

from dataclasses import fields

import pytest

from gateway.settings import _BOUNDS, Settings, SettingsError


def test_every_number_has_bounds_and_its_default_is_inside() -> None:
    assert {setting.name for setting in fields(Settings) if setting.type == "int"} == set(_BOUNDS)
    assert Settings.load({}) == Settings()


@pytest.mark.parametrize("name", _BOUNDS)
def test_a_number_out_of_bounds_is_refused(name: str) -> None:
    least, most = _BOUNDS[name]
    variable = f"VITRINE_{name.upper()}"
    for inside in (least, most):
        assert getattr(Settings.load({variable: str(inside)}), name) == inside
    for outside in (least - 1, most + 1):
        with pytest.raises(SettingsError, match=f"{variable} must be from {least} to {most}: {outside}"):
            Settings.load({variable: str(outside)})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("VITRINE_CONFIRMATIONS", "-1"),
        ("VITRINE_CHOOSE_WALLET_HOURS", "0"),
        ("VITRINE_MINT_GAS_PER_DAY", "-5"),
        ("VITRINE_MINT_WINDOW_MS", "-1"),
        ("VITRINE_SCA_EXEMPTIONS", "nothing_known"),
        ("VITRINE_CHAIN_URL", "foo"),
    ],
)
def test_what_would_fail_later_is_refused_at_once(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable}"):
        Settings.load({variable: value})


def test_a_number_given_on_the_command_line_has_the_same_bounds() -> None:
    with pytest.raises(SettingsError, match="VITRINE_PORT must be from 0 to 65535: 70000"):
        Settings.load({}, port=70_000)
