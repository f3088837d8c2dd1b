"""Drivers of the accounts, which sleep until a document names any."""
