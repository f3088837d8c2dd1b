"""Drivers of files."""
