"""Drivers of the kind `services`."""
