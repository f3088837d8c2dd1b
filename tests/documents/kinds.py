"""Kinds that use every rule of the vocabulary; they are kept out of the registry of real kinds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.errors import Fault, InvalidSpec
from reconciler.resource import Driver, Json, Past, Resource, Rules

Kind = type[Resource[Any, Any, Any]]


@dataclass(frozen=True)
class Desired:
    normal: Any = None


class Port(Driver):
    pass


def declare(
    name: str,
    rules: Rules,
    short: Rules | None = None,
    expand: Callable[[Json], dict[str, Json]] = dict,
    parse: Callable[[Mapping[str, Json]], Desired] = Desired,
) -> Kind:
    """A kind that is written and does nothing; not in `Resource.kinds`."""

    class Written(Resource[Desired, None, Port], kind=f"test-{name}"):
        def observe(self, desired: Desired, past: Past) -> None:
            return None

    del Resource.kinds[f"test-{name}"]
    Written.kind, Written.rules, Written.short, Written.summary = name, rules, short, f"The {name}."
    Written.expand, Written.parse = staticmethod(expand), staticmethod(parse)  # type: ignore[method-assign,assignment]
    return Written


def _parse_power(normal: Mapping[str, Json]) -> Desired:
    if normal.get("state") == "running" and "deadline" in normal:
        raise InvalidSpec(Fault(0, 0, "deadline", "goes only with a state that ends the guest"))
    return Desired(normal)


STATES = ["running", "off", "halted", "suspended"]
POWER = declare(
    "power",
    {
        "state": {"type": "string", "allowed": STATES},
        "deadline": {"type": "duration", "min": 1, "max": 600, "meta": {"default": "30s"}},
        "graceful": {"type": "boolean", "meta": {"description": "Ask before cutting."}},
        "reboot": {"type": "token"},
        "at": {"type": "timestamp", "excludes": ["deadline"]},
        "wall": {"type": "string", "maxlength": 20, "dependencies": {"graceful": True}},
    },
    {"type": "string", "allowed": STATES},
    lambda state: {"state": state},
    _parse_power,
)
_ITEM: Rules = {
    "type": "dict",
    "schema": {"every": {"type": "duration", "min": 1}, "threshold": {"type": "number"}},
}
ITEMS = ["memory", "swap", "nics", "apps", "os"]
REPORT = declare(
    "report",
    {item: _ITEM for item in ITEMS},
    {"type": "list", "schema": {"type": "string", "allowed": ITEMS}, "minlength": 1},
    lambda items: {item: {} for item in items},
)
DISKS = declare(
    "disks",
    {
        "state": {"type": "string", "allowed": ["frozen", "thawed"], "required": True},
        "lease": {"type": "duration"},
        "mounts": {"type": "list", "schema": {"type": "path"}, "maxlength": 3},
        "hooks": {
            "type": "dict",
            "keysrules": {"type": "path"},
            "valuesrules": {"type": "integer", "min": 0},
        },
        "window": {"type": "list", "items": [{"type": "timestamp"}, {"type": "timestamp"}]},
        "cap": {"type": "size", "max": 1 << 30},
        "ratio": {"type": "float", "max": 1, "forbidden": [0.5]},
        "wait": {"anyof": [{"type": "duration"}, {"type": "string", "allowed": ["never"]}]},
        "level": {"type": ["integer", "string"], "empty": False},
        "flags": {"type": "list", "allowed": ["noatime", "discard"]},
    },
    {"type": "string", "allowed": ["frozen", "thawed"]},
    lambda state: {"state": state},
)
USER = declare(
    "user",
    {
        "name": {
            "type": "string",
            "required": True,
            "regex": "[a-z][a-z0-9-]*",
            "meta": {"expected": "a user name"},
        },
        "host": {"type": "string", "regex": "[a-z]+"},
        "limits": {"type": "dict", "schema": {"cpu": {"type": "duration"}}},
        "credential": {
            "type": "dict",
            "schema": {"text": {"type": "string", "maxlength": 4}, "fromFile": {"type": "path"}},
            "meta": {"secret": True},
        },
        "pin": {
            "anyof": [{"type": "integer"}, {"type": "string", "regex": "[0-9]+"}],
            "meta": {"secret": True},
        },
    },
)
UNITS = declare(
    "units",
    {
        "of": {
            "type": "dict",
            "keysrules": {"type": "string", "regex": "[a-z.]+"},
            "valuesrules": {
                "anyof": [
                    {"type": "string", "allowed": ["running", "stopped"]},
                    {
                        "type": "dict",
                        "schema": {
                            "state": {"type": "string", "required": True},
                            "restart": {"type": "token"},
                        },
                    },
                ]
            },
        },
    },
    {"type": "dict", "valuesrules": {"type": "string", "allowed": ["running", "stopped"]}},
    lambda units: {"of": units},
)
KINDS: dict[str, Kind] = {kind.kind: kind for kind in (POWER, REPORT, DISKS, USER, UNITS)}
