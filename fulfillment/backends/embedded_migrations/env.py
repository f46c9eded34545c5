"""Migrations of the embedded order backend's database."""

from gateway.kernel.migrate import run_in_environment

run_in_environment()
