"""Customers, merchants, devices and their tokens."""
