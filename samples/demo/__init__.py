"""``make demo``: a headset buys a digital, a physical and a bundled product from a real gateway process."""
