"""The host side: client, command line."""
