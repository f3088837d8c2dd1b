"""Real guests: a Debian image, QEMU around it, and what is tried on both."""
