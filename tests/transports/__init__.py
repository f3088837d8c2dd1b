"""Transports, against real sockets and ptys, and a model of a virtio port."""
