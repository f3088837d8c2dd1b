"""What the daemon is made of on this guest: kinds with their drivers, and the policy."""

import gc
import os
import stat
from collections.abc import Mapping
from importlib.machinery import PathFinder
from typing import Any

from guest_runtime.validation import Validation
from reconciler import drivers, resources
from reconciler.errors import Forbidden, InvalidSpec, ReconcilerError, Unsupported
from reconciler.policy import Policy
from reconciler.resource import Resource

POLICY_PATH = "/etc/guest-reconciler/policy.yaml"
POLICY_BYTES_MAX = 64 << 10  # written by hand


def check_packages() -> None:
    """Raises Unsupported for want of a package without which no document can be read."""
    for name in ("cerberus", "yaml"):
        if PathFinder.find_spec(name) is None:
            raise Unsupported(f"cannot read documents: the Python package {name} is missing")


def own_paths(*paths: str) -> tuple[str, ...]:
    """The agent's own files and folders, by every name that a document could have for them."""
    return tuple({name for path in paths for name in (os.path.abspath(path), os.path.realpath(path))})


def kinds(
    rules: Policy, *, rehearse: bool = False, own: tuple[str, ...] = ()
) -> tuple[dict[str, Resource[Any, Any, Any]], dict[str, ReconcilerError], frozenset[str]]:
    """Every kind that this guest can do and may; why not the others, not even looked at; those asleep.

    `own` are the paths that no document may reach, as of `own_paths`.
    """
    usable: dict[str, Resource[Any, Any, Any]] = {}
    unusable: dict[str, ReconcilerError] = {}
    asleep: set[str] = set()
    for name in sorted(resources.names()):
        try:
            rules.check_kind(name)
            if drivers.sleeps(name):
                asleep.add(name)
            else:
                usable[name] = make(name, rules, rehearse=rehearse, own=own)
        except (Forbidden, Unsupported) as error:
            unusable[name] = error
    return usable, unusable, frozenset(asleep)


def make(
    name: str, rules: Policy, *, rehearse: bool = False, own: tuple[str, ...] = ()
) -> Resource[Any, Any, Any]:
    """A kind with its drivers, which know the policy. Raises Unsupported."""
    try:
        kind = resources.load(name)
        made = kind(drivers.fill(kind, rehearse=rehearse))
    except ReconcilerError:
        raise
    except Exception as fault:  # half an update: that costs this kind, and not the agent
        raise Unsupported(f"cannot do {name}: {type(fault).__name__}: {fault}") from fault
    restrain(made, rules, own)
    return made


def unload_unused(usable: Mapping[str, Resource[Any, Any, Any]]) -> None:
    """Give back the memory of drivers that no kind has taken; those of a kind asleep are not loaded yet."""
    drivers.forget({type(driver).__module__ for made in usable.values() for driver in drivers_of(made)})
    gc.collect()  # classes hold themselves


def policy(path: str, validation: Validation) -> Policy:
    """The policy of the guest's administrator; an absent or empty file forbids nothing.

    Raises InvalidSpec: a policy that can't be read must not be taken for none.
    """
    try:
        # Not blocking, should it be a pipe.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            text = file.read(POLICY_BYTES_MAX + 1) if stat.S_ISREG(status.st_mode) else ""
    except FileNotFoundError:
        # A link to nowhere is a policy that was lost, not one that was never written.
        if path != POLICY_PATH or os.path.lexists(path):
            raise InvalidSpec(f"cannot read policy {path}: there is no such file") from None
        return Policy()
    except OSError as error:
        raise InvalidSpec(f"cannot read policy {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidSpec(f"cannot read policy {path}: it is not UTF-8") from None
    if not stat.S_ISREG(status.st_mode):
        raise InvalidSpec(f"cannot read policy {path}: it is no regular file")
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & stat.S_IWOTH:
        raise InvalidSpec(f"cannot follow policy {path}: others can write to it")
    if len(text) > POLICY_BYTES_MAX:
        raise InvalidSpec(f"cannot read policy {path}: it is longer than {POLICY_BYTES_MAX} bytes")
    # The file as it is installed holds comments only; that needs no child to be understood.
    if all(line.lstrip().startswith("#") or not line.strip() for line in text.splitlines()):
        return Policy()
    fields = validation.ask({"policy": text, "source": path})
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
    return Policy(**values)


def restrain(resource: Resource[Any, Any, Any], rules: Policy, out_of_reach: tuple[str, ...] = ()) -> None:
    """Tell the drivers what they themselves must hold to, since no document has to name it."""
    limits = {
        "forbidden_commands": rules.commands,
        "forbidden_paths": rules.paths,
        "forbidden_units": rules.units,
        "forbidden_users": rules.users,
        "lease_s_max": rules.freeze_lease_s_max,
        "passwordless_users": rules.passwordless_users,
        "file_folders": rules.file_folders,
        "own_paths": out_of_reach,
    }
    for driver in drivers_of(resource):
        for name, limit in limits.items():
            if hasattr(driver, name):
                setattr(driver, name, limit)


def drivers_of(resource: Resource[Any, Any, Any]) -> tuple[Any, ...]:
    """The drivers that a kind was given."""
    # Not `drivers()`: a kind may show others what only listens for its own.
    return resource.driver if type(resource).several else (resource.driver,)


def rehearsal_lines(state_directory: str) -> str:
    """What a person is told who starts a rehearsal."""
    return f"rehearsing: acts are recorded, not done; state in {os.path.abspath(state_directory)}"
