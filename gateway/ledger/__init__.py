"""Double entry over money, stock and tokens."""
