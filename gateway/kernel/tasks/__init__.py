"""Durable tasks: every effect on the outside world is a row first."""
