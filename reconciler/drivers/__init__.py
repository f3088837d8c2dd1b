"""Drivers of the OS, one facility a module; the first available that fills a port wins.

A kind whose drivers lie in a folder of its own sleeps: neither it nor they are imported
before a document names it, since each costs a guest a quarter of a mebibyte.
"""

import sys
from collections.abc import Collection
from importlib import import_module
from typing import Any

from reconciler.discovery import import_all, inner, modules
from reconciler.errors import Unsupported
from reconciler.resource import Driver, Resource

_broken: list[str] = []  # after half an update, say: that costs what needs them, and not the agent
for _name in modules(__path__):
    try:
        import_module(f"{__name__}.{_name}")
    except Exception as _fault:
        _broken.append(f"{_name} cannot be loaded: {type(_fault).__name__}: {_fault}")


def sleeps(kind: str) -> bool:
    """Whether a kind may stay unloaded until a document names it."""
    return bool(inner(__path__, kind.replace("-", "_")))


def fill(resource: type[Resource[Any, Any, Any]], *, rehearse: bool = False) -> Any:
    """The driver that a kind needs, or all of them for a kind that takes several.

    Drivers are tried in order of module name. In a rehearsal nothing is acted upon, so a
    driver that can observe suffices: one with `observable`, where it has that beside
    `available`. Raises Unsupported when none fits.
    """
    module = resource.kind.replace("-", "_")
    import_all(f"{__name__}.{module}", inner(__path__, module))
    fitting = [driver for driver in resource.port.__subclasses__() if _fits(driver, rehearse)]
    if not fitting:
        raise Unsupported(f"cannot do {resource.kind}: {_why_not(resource.port)}")
    return tuple(driver() for driver in fitting) if resource.several else fitting[0]()


def _fits(driver: type[Driver], rehearse: bool) -> bool:
    observable = getattr(driver, "observable", driver.available)
    return bool(observable() if rehearse else driver.available())


def _why_not(port: type[Driver]) -> str:
    """What each driver lacks, in the words of its `needs` where it has them."""
    needs = [getattr(driver, "needs", driver.__module__) for driver in port.__subclasses__()]
    words = "this guest has no " + " and no ".join(needs) if needs else "there is no driver"
    return "; ".join((words, *_broken))


def forget(used: Collection[str]) -> None:
    """Unload all modules but those named: of what a guest may have, it has a part.

    What lies in a folder of its own is not touched.
    """
    for name in modules(__path__):
        full = f"{__name__}.{name}"
        if full not in used:
            sys.modules.pop(full, None)
            globals().pop(name, None)
