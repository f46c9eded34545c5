"""Minting paid digital items exactly once."""
