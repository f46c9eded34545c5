"""Migrations of the vault's database."""

from gateway.kernel.migrate import run_in_environment

run_in_environment()
