"""Whose rights a task would have, and what keeps it from beginning; see getgrouplist(3)."""

import grp
import os
import pwd
from collections.abc import Sequence
from contextlib import suppress
from fnmatch import fnmatchcase

from reconciler.errors import DriverError
from reconciler.subjects.task import Task


def forbidden_rights(task: Task, patterns: Sequence[str]) -> str:
    """The user whose rights the task would have although the policy forbids it; else nothing.

    By whatever name: an account can have a second one, and another account the same number.
    """
    try:
        account = pwd.getpwnam(task.user)
        gid = grp.getgrnam(task.group).gr_gid if task.group else account.pw_gid
    except KeyError:
        return ""  # nobody to have rights; it does not begin
    names = {task.user, account.pw_name}
    with suppress(KeyError):
        names.add(pwd.getpwuid(account.pw_uid).pw_name)
    for pattern in patterns:
        with suppress(KeyError):
            if pwd.getpwnam(pattern).pw_uid == account.pw_uid:
                return task.user
    if any(fnmatchcase(name, pattern) for name in names for pattern in patterns):
        return task.user
    # A group such as disk or docker is as good as root, and the user has not been let into it.
    own = os.getgrouplist(account.pw_name, account.pw_gid)
    return f"group {task.group}" if account.pw_uid and gid not in own else ""


def check_target(task: Task) -> None:
    """Raises DriverError for what can be seen to fail before it is tried: it may come yet."""
    why = ""
    try:
        pwd.getpwnam(task.user)
    except KeyError:
        why = f"there is no user {task.user}"
    try:
        if task.group:
            grp.getgrnam(task.group)
    except KeyError:
        why = f"there is no group {task.group}"
    if not os.access(task.argv[0], os.X_OK) or os.path.isdir(task.argv[0]):
        why = f"there is no program {task.argv[0]}"
    elif task.cwd and not os.path.isdir(task.cwd):
        why = f"there is no folder {task.cwd}"
    if why:
        raise DriverError(f"cannot run {task.name}: {why}")
