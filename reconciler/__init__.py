"""Declarative state for a virtual machine's guest: documents in, actual state out."""

__version__ = "0.1.0"
