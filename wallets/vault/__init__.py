"""The shared token vault: stored payment methods, allowances and the provider adapters."""
