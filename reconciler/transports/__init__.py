"""Byte streams to the other side; each can drop, stall and come back."""
