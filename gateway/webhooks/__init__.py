"""Webhooks: notices to servers outside, written with their fact, signed, and sent until they arrive."""
