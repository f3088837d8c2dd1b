"""What kinds are about, for a kind and its drivers alike; no I/O."""
