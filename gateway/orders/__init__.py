"""Quote, order and legs; process.py is the purchase on one page."""
