"""Migrations of the simulated acquirer's database."""

from gateway.kernel.migrate import run_in_environment

run_in_environment()
