"""Code that asks a contract account about a signature, run by a read call and never sent."""
