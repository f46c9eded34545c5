"""Our operations, the providers' lines and the bank's lines compared."""
