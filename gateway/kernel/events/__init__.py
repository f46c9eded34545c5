"""The event log: gapless numbered streams, written with the facts they tell."""
