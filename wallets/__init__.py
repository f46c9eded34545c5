"""Vault, custody, minting and the signer port: everything that holds value for a customer."""
