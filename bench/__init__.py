"""What the guest's agent costs, measured on this machine."""
