"""What the freeze guardian and the driver that starts it share: ioctls, ledger, wire, hooks."""
