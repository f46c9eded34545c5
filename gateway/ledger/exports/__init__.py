"""The books in the formats of others: Beancount, DATEV, CSV."""
