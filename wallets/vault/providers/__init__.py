"""Provider adapters: the only code that sees a card number."""
