"""Drivers of the kind `cpus`."""
