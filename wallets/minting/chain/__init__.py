"""The chain as a small port, and its adapters: an embedded chain and any JSON-RPC endpoint."""
