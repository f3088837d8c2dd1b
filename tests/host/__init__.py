"""The host: its client and its command line."""
