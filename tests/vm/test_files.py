"""Files of a real guest: there after a power cut, repaired by hand or not, and safe from its users."""

from base64 import b64encode
from collections import Counter
from functools import partial
from typing import Any

import pytest

from tests.vm.guest import Guest
from tests.vm.product import UNIT, again
from tests.vm.wire import Host

pytestmark = pytest.mark.vm

MOTD = "/etc/motd"
KEY = "/etc/ssl/private/web.key"
SECRET = "k3y-that-nobody-may-see"
STATE = "/var/lib/guest-reconciler"


def files(**more: Any) -> dict[str, Any]:
    return {"files": {MOTD: {"content": "Welcome.\n", "mode": "0640", "owner": "alice", **more}}}


def stat(guest: Guest, path: str, form: str = "%a %U %G") -> str:
    return guest.text(f"stat -c '{form}' {path}")


def test_a_file_is_written_kept_and_left_alone(guest: Guest, host: Host) -> None:
    guest.run(f"chgrp adm {MOTD}; touch /etc/old")
    host.converge({"files": {**files()["files"], "/etc/old": {"state": "absent"}}})
    assert guest.text(f"cat {MOTD}") == "Welcome."
    assert stat(guest, MOTD) == "640 alice adm"
    assert guest.run("test -e /etc/old", check=False).rc == 1

    inode, looks = stat(guest, MOTD, "%i"), host.revision
    guest.run("touch /etc/unrelated; echo x >/srv/other; sleep 2")
    assert (stat(guest, MOTD, "%i"), host.revision) == (inode, looks)

    guest.run(f"echo defaced >{MOTD}")
    guest.wait_until(f"grep -q Welcome {MOTD}")
    guest.run(f"chmod 666 {MOTD}")
    guest.wait_until(f"test $(stat -c %a {MOTD}) = 640")
    guest.run(f"rm {MOTD}; touch /etc/old")
    guest.wait_until(f"grep -q Welcome {MOTD} && ! test -e /etc/old")
    host.reason("files", "InSync")
    assert "FilesChanged" in {event["reason"] for event in host.events if event["kind"] == "files"}

    host.converge({"hostname": "web-01"})
    guest.run(f"echo mine >{MOTD}; sleep 2")
    assert guest.text(f"cat {MOTD}") == "mine"
    assert "files" not in {name for name, seen in host.status["observed"].items() if seen}


def test_a_power_cut_right_after_loses_nothing(guest: Guest, host: Host) -> None:
    paths = [f"/srv/{number}" for number in range(20)]
    host.converge({"files": dict.fromkeys(paths, "as written\n")})
    guest.kill()
    guest.start()
    guest.wait_up()
    assert guest.text("cat /srv/[0-9]* | sort | uniq -c").split() == ["20", "as", "written"]
    assert guest.run("ls -A /srv | grep guest-reconciler", check=False).out == ""
    with again(guest, host) as later:
        later.reason("files", "InSync")


def test_a_power_cut_in_the_middle_leaves_the_old_or_the_new(guest: Guest, host: Host) -> None:
    paths = [f"/srv/{number:03}" for number in range(250)]  # so many that the cut is among them
    host.converge({"files": dict.fromkeys(paths, "old\n")})
    spec = {"files": dict.fromkeys(paths, "new and longer\n")}
    host.apply(spec)
    guest.wait_until(f"grep -q new {paths[0]}")
    guest.kill()
    guest.start()
    guest.wait_up()
    found = Counter(guest.text("cat /srv/[0-9]*").splitlines())
    print(f"after the power cut: {dict(found)}")
    assert found.keys() == {"old", "new and longer"}
    assert found.total() == len(paths)
    with again(guest, host) as later:
        later.converge(spec)
        assert guest.text("cat /srv/[0-9]* | sort -u") == "new and longer"
        assert guest.run("ls -A /srv | grep guest-reconciler", check=False).out == ""


def test_attributes_are_kept_and_the_old_one_on_request(guest: Guest, host: Host) -> None:
    label = "system_u:object_r:etc_t:s0"
    script = f"import os; os.setxattr('{MOTD}', 'security.selinux', b'{label}')"
    guest.run(f'echo by hand >{MOTD}; python3 -c "{script}"')
    host.converge(files(backup=True))
    script = f"import os; print(os.getxattr('{MOTD}', 'security.selinux').decode())"
    assert guest.text(f'python3 -c "{script}"') == label
    assert guest.text(f"cat {MOTD}~") == "by hand"
    assert guest.text("ls -A /etc | grep '~'") == "motd~"


def test_a_file_that_she_has_moved_there_is_not_given_to_her(guest: Guest, host: Host) -> None:
    key = "/home/alice/key"
    host.converge({"files": {key: {"content": "k3y\n", "mode": "0600", "owner": "root"}}})
    guest.run(f"runuser -u alice -- mv {key} /home/alice/mine")
    host.apply({"files": {"/home/alice/mine": {"owner": "alice", "mode": "0644"}}})
    assert "write its content too" in host.reason("files", "Blocked")["message"]
    assert stat(guest, "/home/alice/mine") == "600 root root"


def test_nobody_keeps_files_from_a_folder_of_all(guest: Guest, host: Host) -> None:
    guest.run("install -d -m 1777 /srv/all; runuser -u bob -- mkdir -p /srv/all/.guest-reconciler~/x")
    host.converge({"files": {"/srv/all/motd": "Welcome.\n"}})
    assert guest.text("cat /srv/all/motd") == "Welcome."
    assert guest.text("ls -A /srv/all").split() == [".guest-reconciler~", "motd"]


def test_what_is_in_the_way_is_said_and_costs_no_other(guest: Guest, host: Host) -> None:
    guest.run(f"ln -s /etc/shadow /etc/link; mkdir /etc/folder; chattr +i {MOTD}")
    spec = dict.fromkeys(("/etc/link", "/etc/folder", "/bin/x", "/etc/fine"), "x")
    host.apply({"files": {**spec, **files()["files"]}})
    message = host.reason("files", "Blocked")["message"]
    for words in (
        "/etc/link: it is a symbolic link to /etc/shadow",
        "/etc/folder: it is a folder",
        "/bin/x: /bin is a symbolic link to usr/bin",
        f"{MOTD}: it is immutable (chattr +i)",
    ):
        assert words in message
    assert guest.text("cat /etc/fine") == "x"
    assert host.status["phase"] == "Degraded"
    guest.run(f"chattr -i {MOTD}; rm /etc/link; rmdir /etc/folder")
    guest.wait_until(f"grep -q Welcome {MOTD} && test -f /etc/link -a -f /etc/folder")


def test_a_secret_is_written_once_and_found_nowhere_else(guest: Guest, host: Host) -> None:
    guest.run("mkdir -p /etc/ssl/private")
    spec = {"files": {KEY: {"secret": {"fromFile": "secrets/web.key"}, "group": "adm", "mode": "0640"}}}
    number = host.call("spec")["generation"] + 1
    sealed = {"files": {f"paths.{KEY}.secret": b64encode(SECRET.encode()).decode()}}
    host.call("apply", generation=number, spec=spec, secrets=sealed)
    host.until(lambda status: status["observedGeneration"] == number)
    host.reason("files", "InSync")
    assert guest.text(f"cat {KEY}") == SECRET
    assert stat(guest, KEY) == "640 root adm"
    assert "digest" not in host.status["observed"]["files"][KEY]
    places = f"{STATE} /run/log/journal /var/log/journal /run/guest-reconciler"
    assert guest.run(f"grep -rlF {SECRET} {places} 2>/dev/null", check=False).out == ""
    assert SECRET not in str(host.status) + str(host.events)

    guest.run(f"chmod 666 {KEY}")
    guest.wait_until(f"test $(stat -c %a {KEY}) = 640")
    assert guest.text(f"cat {KEY}") == SECRET
    guest.run(f"rm {KEY}")
    assert "apply the document again" in host.reason("files", "SecretMissing")["message"]


def test_the_policy_says_where(guest: Guest, host: Host) -> None:
    guest.run("echo 'allow-files-in: [/srv]' >/etc/guest-reconciler/policy.yaml")
    guest.run(f"systemctl restart {UNIT}")
    with again(guest, host) as later:
        later.converge({"files": {"/srv/x": "x"}})
        later.apply(files())
        assert "allow-files-in" in later.reason("files", "Forbidden")["message"]
        assert "Welcome" not in guest.text(f"cat {MOTD}")


def judged(host: Host, _: dict[str, Any]) -> bool:
    return outcome(host.condition("files")) != ""


def outcome(condition: dict[str, Any]) -> str:
    """What became of a document: `written`, also where the user has undone it since; or the reason."""
    reason, message = condition.get("reason", ""), condition.get("message", "")
    if reason == "InSync" or "acted and looked again" in message:
        return "written"
    return "" if reason in ("NotSeenYet", "Drifted") else reason


def test_a_user_who_swaps_names_gets_nothing_outside(guest: Guest, host: Host) -> None:
    """The folder is hers; what she makes of it must not lead anywhere else."""
    guest.run("mkdir -m 755 /srv/outside; echo theirs >/srv/outside/x; chmod 600 /srv/outside/x")
    swapper = "python3 /opt/tests/swapper.py /home/alice/a /srv/outside"
    guest.run(f"systemd-run --quiet --uid alice --unit swapper {swapper}")
    guest.wait_until("test -L /home/alice/a/l -o -L /home/alice/a/d")
    path, told = "/home/alice/a/d/x", Counter[str]()
    for turn in range(400):  # one write in ten wins, measured
        ours = {"content": f"ours {turn}\n", "mode": "0666", "owner": "alice", "backup": turn % 4 == 2}
        forms = (ours, {"mode": "0666", "owner": "alice"}, ours, {"state": "absent"})
        host.apply({"files": {path: forms[turn % 4]}})
        host.until(partial(judged, host))
        if turn % 2 == 0:
            told[outcome(host.condition("files"))] += 1
        if turn >= 30 and told["written"]:
            break
    guest.run("systemctl kill --signal=KILL swapper; systemctl stop swapper")
    print(f"of what was to be written: {dict(told)}")
    assert told["written"], "so it was a race, and not lost from the start"
    assert guest.text("cat /srv/outside/x; ls -A /srv/outside") == "theirs\nx"
    assert stat(guest, "/srv/outside/x") == "600 root root"
    guest.run("rm -r /home/alice/a; mkdir -p /home/alice/a/d")
    host.converge({"files": {path: forms[0]}})
    assert stat(guest, path) == "666 alice root"
