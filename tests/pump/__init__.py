"""Descriptors, devices and listening sockets."""
