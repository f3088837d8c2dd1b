"""Small files in which the kernel says something: of /sys and /proc."""

from reconciler.errors import DriverError

_BYTES_MAX = 16 * 1024  # a list of 8192 processors at its worst; one processor of cpuinfo has 1.5 KiB


def content(path: str, bytes_max: int = _BYTES_MAX) -> str:
    """What it says, stripped; empty where there is no such file. Raises DriverError.

    What is not built in has no file, and what is unplugged while we look has none any more.
    """
    try:
        with open(path, "rb") as file:
            return file.read(bytes_max).decode(errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise DriverError(f"cannot read {path}: {error.strerror}") from error
