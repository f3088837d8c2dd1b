"""Drivers of the kind `memory-blocks`."""
