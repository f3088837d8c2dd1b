"""One host, a bad channel and one guest, all of it from a seed and on a clock of ours."""
