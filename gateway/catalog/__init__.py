"""Merchants, products, prices, taxes, places and 3D assets."""
