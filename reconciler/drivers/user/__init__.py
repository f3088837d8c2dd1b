"""Drivers of the kind `user`: who is logged in, and the doors of this guest."""
