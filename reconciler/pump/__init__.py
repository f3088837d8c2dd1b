"""What transports have in common: descriptors read and written without blocking."""
