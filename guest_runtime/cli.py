"""The command `guest-reconciler`: run, check and thaw."""

import sys
from collections.abc import Sequence
from typing import NamedTuple

USAGE = """\
usage: guest-reconciler run --channel CHANNEL [--channel ...] --state-dir DIR [--policy FILE] [--rehearse]
       guest-reconciler check [--policy FILE]
       guest-reconciler thaw
       guest-reconciler --version | --help

run    makes this guest what its host's document says, until it is told to stop
check  says which kinds this guest can do, and why not the others
thaw   lets go of every filesystem that a freeze of ours left frozen

CHANNEL     virtio-serial:NAME, serial:DEV[,BAUD], vsock:PORT or unix:PATH
--state-dir where the document and what was done once are kept
--policy    what the host may not do here (default /etc/guest-reconciler/policy.yaml)
--rehearse  observe for real, record acts instead of doing them
"""


# A NamedTuple here: `thaw` must be quick, and dataclasses take as long to import as all of it.
class Options(NamedTuple):
    command: str
    channels: tuple[str, ...] = ()
    state_directory: str = ""
    policy: str = "/etc/guest-reconciler/policy.yaml"
    rehearse: bool = False


class Usage(Exception):
    """The command line makes no sense."""


def main(arguments: Sequence[str] | None = None) -> int:
    """0 done, 1 the answer is no, 2 wrong usage or a document that is refused."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if {"--help", "-h"} & set(given):  # `run --help` too
        print(USAGE, end="")
        return 0
    if given == ["--version"]:
        from reconciler import __version__

        print(f"guest-reconciler {__version__}")
        return 0
    try:
        options = parse(given)
    except Usage as error:
        print(f"guest-reconciler: {error}\n{USAGE}", end="", file=sys.stderr)
        return 2
    return {"run": run, "check": check, "thaw": thaw}[options.command](options)


def parse(given: Sequence[str]) -> Options:
    """Plain and by hand: argparse costs the daemon memory that it never needs again."""
    words = list(given)
    options = Options(words.pop(0) if words else "")
    if options.command not in ("run", "check", "thaw"):
        raise Usage(f"cannot do {options.command!r}: the commands are run, check and thaw")
    takes = {
        "run": ("--channel", "--state-dir", "--policy", "--rehearse"),
        "check": ("--policy",),
        "thaw": (),
    }[options.command]
    while words:
        name, equals, value = words.pop(0).partition("=")
        if name not in takes:
            raise Usage(f"cannot use {name!r} with {options.command}")
        if name == "--rehearse":
            options = options._replace(rehearse=True)
            continue
        if not equals:
            if not words:
                raise Usage(f"cannot use {name}: it needs a value")
            value = words.pop(0)
        if name == "--channel":
            options = options._replace(channels=(*options.channels, value))
        elif name == "--state-dir":
            options = options._replace(state_directory=value)
        else:
            options = options._replace(policy=value)
    if options.command == "run" and not (options.channels and options.state_directory):
        raise Usage("cannot run: --channel and --state-dir are needed")
    return options


def run(options: Options) -> int:
    # Late, here and below: `thaw` must be quick and needs none of it.
    from guest_runtime.deferred import defer
    from guest_runtime.memory import stay_private, stay_small

    stay_small()
    stay_private()
    # What dataclasses import for docstrings that a class lacks, and for asdict; ours need neither.
    # It would stay in memory with 1.4 MiB.
    defer("inspect")
    defer("copy")
    from functools import partial

    from guest_runtime import startup
    from guest_runtime.daemon import Daemon, jitter
    from guest_runtime.log import hold_standard_descriptors
    from guest_runtime.validation import Validation
    from reconciler.errors import ReconcilerError
    from reconciler.loop import Setting
    from reconciler.transports import open_endpoint

    # From here on imports come late, perhaps while the disk is frozen that would take their compiled code.
    sys.dont_write_bytecode = True
    hold_standard_descriptors()
    validation = Validation()
    try:
        startup.check_packages()
        endpoints = [open_endpoint(channel) for channel in options.channels]
        policy = startup.policy(options.policy, validation)
        own = startup.own_paths(options.state_directory, options.policy)
        usable, unusable, asleep = startup.kinds(policy, rehearse=options.rehearse, own=own)
        startup.unload_unused(usable)
        setting = Setting(
            resources=usable,
            unusable=unusable,
            asleep=asleep,
            rouse=partial(startup.make, rules=policy, rehearse=options.rehearse, own=own),
            policy=policy,
            rehearse=options.rehearse,
            jitter=jitter,
        )
        daemon = Daemon(setting, endpoints, options.state_directory, validation)
    except (ReconcilerError, OSError) as error:
        print(f"guest-reconciler: {error}", file=sys.stderr)
        return 2
    if options.rehearse:
        daemon.log.say(startup.rehearsal_lines(options.state_directory))
    daemon.run()
    return 0


def check(options: Options) -> int:
    from guest_runtime import startup
    from guest_runtime.validation import Validation
    from reconciler.errors import ReconcilerError

    validation = Validation()
    try:
        startup.check_packages()
        policy = startup.policy(options.policy, validation)
    except ReconcilerError as error:
        print(f"guest-reconciler: {error}", file=sys.stderr)
        return 2
    finally:
        validation.close()
    usable, unusable, asleep = startup.kinds(policy)
    for kind in asleep:
        try:
            usable[kind] = startup.make(kind, policy)
        except ReconcilerError as error:
            unusable[kind] = error
    for kind in sorted(usable.keys() | unusable.keys()):
        said = f"no   {unusable[kind]}" if kind in unusable else f"yes  {_by(usable[kind].driver)}"
        print(f"{kind:<14}{said}")
    return 1 if unusable else 0


def _by(driver: object) -> str:
    names = [type(each).__module__ for each in (driver if isinstance(driver, tuple) else (driver,))]
    return "through " + ", ".join(sorted({name.rpartition(".")[2] for name in names}))


def thaw(options: Options) -> int:
    from reconciler.guarding.rescue import thaw_all

    faults = thaw_all()
    for fault in faults:
        print(f"guest-reconciler: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
