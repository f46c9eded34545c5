"""A small headset: connect, resume, shop."""
