"""Accounts, as they are written, as they are, and what is between: all of it without I/O."""
