"""Three sides of the money compared: our operations, the providers' settlement lines, the bank's lines."""
