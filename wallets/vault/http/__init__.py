"""The vault as a process of its own: its API for gateways and its pages for customers."""
