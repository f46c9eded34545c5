"""The ERC-1155 contract of digital goods: its source, its committed build and the encoding of its calls."""
