"""Ways to the OS that several drivers share."""
