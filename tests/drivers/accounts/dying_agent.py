"""Brings one account about in the databases of a folder, as an agent would that has just started.

`python -m tests.drivers.accounts.dying_agent ROOT`; it is killed before it ends.
"""

import sys
from math import inf
from typing import Any

from reconciler.drivers.accounts.shadow import Shadow
from reconciler.resource import Deed, Past
from reconciler.resources.accounts import Accounts
from tests.drivers.accounts.test_crypt3 import SHA512
from tests.subjects.people.test_ssh_keys import ED25519

WRITTEN: dict[str, Any] = {
    "users": {
        "carol": {
            "shell": "/bin/sh",
            "groups": ["adm"],
            "passwordHash": SHA512,
            "locked": True,
            "sshKeys": {"present": [ED25519]},
        }
    }
}


class Killed(BaseException):
    """In place of a signal that nobody can catch."""


def bring_about(root: str, deeds: dict[str, Deed], *, steps: float = inf) -> int:
    """Act until there is nothing to do; how many acts it took. Each token is noted before its act.

    Killed after so many steps: what is noted before an act, the act, and what is noted after it are three.
    """
    kind, acts, left = Accounts(Shadow(root)), 0, [steps]

    def step() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Killed

    desired = Accounts.parse(WRITTEN)
    for _ in range(5):
        past = Past(generation=1, boot_id="b", deeds=deeds)
        plan = Accounts.plan(desired, Accounts.diff(desired, kind.observe(desired, past)))
        if not plan:
            return acts
        for action in plan:
            if action.token:
                step()
                deeds[action.token] = Deed("begun", "b", 1)
            step()
            kind.act(action)
            acts += 1
            if action.token:
                step()
                deeds[action.token] = Deed("done", "b", 1)
    raise AssertionError(f"it never comes to rest: {plan}")


if __name__ == "__main__":
    bring_about(sys.argv[1], {})
