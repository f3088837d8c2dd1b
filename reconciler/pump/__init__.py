"""What the transports have in common: descriptors that are read and written without blocking."""
