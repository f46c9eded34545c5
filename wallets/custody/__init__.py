"""Customers' custodial accounts behind the signer port."""
