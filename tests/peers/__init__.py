"""Programs of others that tests start as processes of their own."""
