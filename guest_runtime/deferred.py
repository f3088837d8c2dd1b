"""Stands in for modules that libraries import and the daemon never calls, until it does."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


def defer(name: str) -> None:
    """Have `import NAME` give a stand-in, which imports the module as soon as anything of it is used.

    A module that is there already stays. By `__getattr__` of PEP 562: importlib's LazyLoader
    is no use here, as with it a second `import` of the same name loads the module.
    """
    if name in sys.modules:
        return
    stand_in = ModuleType(name)

    def load(attribute: str) -> Any:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
        return getattr(import_module(name), attribute)

    vars(stand_in)["__getattr__"] = load
    sys.modules[name] = stand_in
