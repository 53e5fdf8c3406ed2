"""Runs that are killed, and what must hold of them."""
