"""Drivers of the kind `clock`."""
