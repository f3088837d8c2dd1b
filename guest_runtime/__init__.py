"""What is installed in the guest: the daemon, the freeze guardian and their units."""
