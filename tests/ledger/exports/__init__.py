"""The books in the formats of others."""
