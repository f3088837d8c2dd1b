"""The commands of `reconciler`, one a file; what a file here has is told in `cli.Command`."""
