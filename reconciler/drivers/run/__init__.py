"""Drivers of the kind `run`, which sleeps until a document names it."""
