"""Dated rules of regulators and networks, as data."""
