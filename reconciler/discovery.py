"""The modules of a folder, by name: what lies there registers itself, without a list."""

import os
from collections.abc import Iterable
from importlib import import_module


def modules(folders: Iterable[str]) -> list[str]:
    """The names of all modules in the folders of a package, its `__path__`.

    pkgutil can tell them as well, for 1.3 MiB: it imports `inspect`.
    """
    return [
        name.removesuffix(".py")
        for folder in folders
        for name in sorted(os.listdir(folder))
        if name.endswith(".py") and not name.startswith("_")
    ]


def import_all(package: str, folders: Iterable[str]) -> None:
    """Import the modules of `package` from its `__path__`, by name."""
    for name in modules(folders):
        import_module(f"{package}.{name}")


def inner(folders: Iterable[str], name: str) -> list[str]:
    """The folders of that name in the folders of a package; none if there is no such one."""
    return [path for folder in folders if os.path.isdir(path := f"{folder}/{name}")]
