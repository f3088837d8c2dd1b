"""The agent, with CID 1 taken for the host: no other peer comes over the kernel's vsock loopback."""

import socket
import sys

sys.path.append("/usr/lib/python3/dist-packages")
socket.VMADDR_CID_HOST = 1  # type: ignore[misc]

from guest_runtime.cli import main  # noqa: E402

sys.exit(main())
