"""Things that run as they stand: a catalog, a headset, a demo."""
