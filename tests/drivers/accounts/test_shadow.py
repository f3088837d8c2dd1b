"""Shadow's real tools on databases of a folder, in which they work by chroot(2)."""

import os
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.drivers.accounts import shadow
from reconciler.drivers.accounts.shadow import Shadow
from reconciler.errors import DriverError
from reconciler.resource import Json, Watch, Watching
from reconciler.resources.accounts import People
from reconciler.subjects.people.changes import Account
from reconciler.subjects.people.rules import LOCK_DAY, NEVER
from tests.bus import readable
from tests.drivers.accounts.test_crypt3 import SHA512
from tests.subjects.people.test_ssh_keys import ED25519

PORT: People = Shadow()  # holds the driver to its port, for the type checker
WATCHING: Watching = Shadow()
WATCH: Watch = Shadow().watches()[0]
PERSON = {"system": False, "home": "/home/carol"}

needs_root = pytest.mark.root


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    etc = tmp_path / "etc"
    (etc / "skel").mkdir(parents=True)
    (etc / "skel/.profile").write_text("hello\n")
    (tmp_path / "home").mkdir()
    (etc / "passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (etc / "shadow").write_text("root:*:19000:0:99999:7:::\n")
    (etc / "group").write_text("root:x:0:\nadm:x:4:\nsudo:x:27:\n")
    (etc / "gshadow").write_text("root:*::\nadm:*::\nsudo:*::\n")
    (etc / "login.defs").write_text("UID_MIN 1000\nGID_MIN 1000\nUSERGROUPS_ENAB yes\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sh").write_text("")
    (tmp_path / "bin/sh").chmod(0o755)
    return tmp_path


@pytest.fixture
def driver(guest: Path) -> Shadow:
    return Shadow(str(guest))


def carol(driver: Shadow) -> Account:
    return driver.databases().accounts["carol"]


def made(driver: Shadow, **fields: Json) -> Account:
    """Carol's account, with her home."""
    driver.create("carol", PERSON | fields)
    driver.make_home("carol")
    return carol(driver)


@needs_root
def test_creates_and_removes(driver: Shadow, guest: Path) -> None:
    account = made(driver, uid=1234, home="/home/c", shell="/bin/sh", comment="-x Carol, C")
    assert (account.uid, account.home, account.shell, account.comment) == (
        1234,
        "/home/c",
        "/bin/sh",
        "-x Carol, C",
    )
    assert (account.whole, account.hash, account.expires, account.groups) == (True, "!", NEVER, ())
    assert (guest / "home/c/.profile").read_text() == "hello\n"
    assert (guest / "home/c").stat().st_uid == 1234
    assert driver.belongings("carol", account, keys=True).home_there
    driver.remove("carol", home=False)
    assert "carol" not in driver.databases().accounts
    assert "carol" not in driver.databases().groups
    assert (guest / "home/c/.profile").exists()


@needs_root
def test_removes_the_home_where_that_is_asked(driver: Shadow, guest: Path) -> None:
    made(driver)
    driver.remove("carol", home=True)
    assert os.listdir(guest / "home") == []


@needs_root
def test_creates_a_service_without_home(driver: Shadow, guest: Path) -> None:
    driver.create("carol", PERSON | {"system": True})
    assert carol(driver).uid < 1000
    assert os.listdir(guest / "home") == []


@needs_root
def test_takes_on_a_group_that_is_there(driver: Shadow, guest: Path) -> None:
    (guest / "etc/group").write_text((guest / "etc/group").read_text() + "carol:x:1500:\n")
    driver.create("carol", {**PERSON, "group": "carol"})
    assert carol(driver).gid == 1500


@needs_root
def test_changes_what_stands_in_passwd(driver: Shadow) -> None:
    driver.create("carol", PERSON)
    driver.modify("carol", {"uid": 2000, "home": "/srv/carol", "shell": "/bin/sh", "comment": ""})
    account = carol(driver)
    assert (account.uid, account.home, account.shell, account.comment) == (2000, "/srv/carol", "/bin/sh", "")


@needs_root
def test_groups(driver: Shadow) -> None:
    driver.create("carol", PERSON)
    driver.join("carol", ["adm"])
    driver.join("carol", ["sudo"])
    assert carol(driver).groups == ("adm", "sudo")
    driver.set_groups("carol", ["sudo"])
    assert carol(driver).groups == ("sudo",)
    driver.set_groups("carol", [])
    assert carol(driver).groups == ()


@needs_root
def test_a_hash_a_lock_and_days(driver: Shadow) -> None:
    driver.create("carol", PERSON)
    driver.set_hash("carol", SHA512)
    assert carol(driver).hash == SHA512
    driver.must_change("carol")
    assert carol(driver).changed == 0
    driver.lock("carol")
    assert (carol(driver).hash, carol(driver).expires) == (f"!{SHA512}", LOCK_DAY)
    driver.unlock("carol", 22_279)
    assert (carol(driver).hash, carol(driver).expires) == (SHA512, 22_279)
    driver.set_expires("carol", NEVER)
    assert carol(driver).expires == NEVER


@needs_root
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_a_day_is_that_day_in_every_zone(driver: Shadow, guest: Path, zone: str) -> None:
    (guest / "etc/localtime").write_bytes(Path("/usr/share/zoneinfo", zone).read_bytes())
    driver.create("carol", PERSON)
    driver.lock("carol")
    assert carol(driver).expires == LOCK_DAY
    driver.set_expires("carol", 22_279)
    assert carol(driver).expires == 22_279


@needs_root
def test_who_has_no_password_is_unlocked_without_one(driver: Shadow) -> None:
    driver.create("carol", PERSON)
    driver.lock("carol")
    driver.unlock("carol", NEVER)
    assert (carol(driver).hash, carol(driver).expires) == ("!", NEVER)


@needs_root
@pytest.mark.parametrize("lacking", ["shadow", "group"])
def test_completes_what_a_crash_has_left(driver: Shadow, guest: Path, lacking: str) -> None:
    driver.create("carol", PERSON)
    file = guest / "etc" / lacking
    file.write_text("".join(line for line in file.read_text().splitlines(True) if "carol" not in line))
    assert not carol(driver).whole
    driver.complete("carol")
    assert carol(driver).whole
    assert not carol(driver).hash.strip("!x")
    driver.set_hash("carol", SHA512)
    assert carol(driver).hash == SHA512


@needs_root
def test_a_tool_that_was_killed_leaves_no_lock_that_lasts(driver: Shadow, guest: Path) -> None:
    (guest / "etc/passwd.lock").write_text(f"{os.getpid()}\0")  # taken by now
    driver.create("carol", PERSON)
    assert carol(driver).whole


@needs_root
@pytest.mark.parametrize(
    ("act", "why"),
    [
        pytest.param(lambda d: d.create("carol", PERSON), "the name is taken", id="twice"),
        pytest.param(lambda d: d.create("dave", {**PERSON, "uid": 0}), "the number is taken", id="number"),
        pytest.param(lambda d: d.join("carol", ["docker"]), "no such group", id="group"),
        pytest.param(lambda d: d.remove("dave", home=False), "no such group or account", id="nobody"),
        pytest.param(lambda d: d.make_home("dave"), "no such account any more", id="nobody's home"),
        pytest.param(lambda d: d.set_hash("dave", SHA512), "chpasswd: line 1: .*dave", id="nobody's hash"),
    ],
)
def test_says_why_not(driver: Shadow, act: object, why: str) -> None:
    driver.create("carol", PERSON)
    assert callable(act)
    with pytest.raises(DriverError, match=why):
        act(driver)


@pytest.mark.parametrize(
    ("password", "why"),
    [
        pytest.param("", "one line of text", id="empty"),
        pytest.param("a\nroot:x", "one line of text", id="another account's as well"),
        pytest.param("a\0b", "one line of text", id="NUL"),
        pytest.param("é" * 256, "longer than 511 bytes", id="longer than PAM takes"),
    ],
)
def test_what_is_no_password(driver: Shadow, password: str, why: str) -> None:
    with pytest.raises(DriverError, match=why):
        driver.set_password("root", password)


@needs_root
def test_the_same_password_is_no_change(driver: Shadow, guest: Path) -> None:
    driver.create("carol", PERSON)
    driver.set_hash("carol", SHA512)
    before = os.stat(guest / "etc/shadow")
    driver.set_password("carol", "welcome")
    assert os.path.samestat(os.stat(guest / "etc/shadow"), before)  # each change makes it another file


def test_passwords_go_over_standard_input_alone(
    driver: Shadow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "chpasswd").write_text(f'#!/bin/sh\n{{ echo "$@"; env; cat; }} >{tools}/called\n')
    (tools / "chpasswd").chmod(0o755)
    monkeypatch.setattr(shadow, "_FOLDERS", (str(tools),))
    driver.set_password("root", "hunter2:x")
    called = (tools / "called").read_text()
    assert called.count("hunter2") == 1
    assert called.endswith("\nroot:hunter2:x\n")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        pytest.param(
            "echo 'BAD PASSWORD: too short' >&2; exit 1", "BAD PASSWORD: too short", id="what PAM says"
        ),
        pytest.param(
            "echo $(cat) is too short >&2; exit 1", "chpasswd: it exited with 1", id="with the secret"
        ),
        pytest.param("exit 1", "chpasswd: it exited with 1", id="nothing"),
        pytest.param(f"echo {'x' * 999}; exit 1", f"chpasswd: {'x' * 200}", id="the end of much"),
    ],
)
def test_says_what_the_tools_say(
    driver: Shadow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    tool(tmp_path, monkeypatch, "chpasswd", script)
    with pytest.raises(DriverError) as error:
        driver.set_password("root", "hunter2")
    assert str(error.value).endswith(said)
    assert "hunter2" not in str(error.value)


def test_a_guest_without_the_tools_is_said(driver: Shadow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow, "_FOLDERS", ())
    assert not Shadow.available()


def test_who_runs(driver: Shadow) -> None:
    assert os.getuid() in driver.running()
    assert 4_294_967_000 not in driver.running()


def test_what_can_be_started(driver: Shadow, guest: Path) -> None:
    assert driver.can_start("/bin/sh")
    assert not driver.can_start("/bin")
    (guest / "bin/sh").chmod(0o644)
    assert not driver.can_start("/bin/sh")


def tool(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, script: str) -> None:
    """One in the place of all that the guest has."""
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    monkeypatch.setattr(shadow, "_FOLDERS", (str(folder),))


def directory(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    tool(folder, monkeypatch, "getent", script)


def test_names_of_a_directory_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory(tmp_path, monkeypatch, "[ $1 = passwd ] && echo dave:x:70000:70000::/home/dave:/bin/sh; exit 2")
    assert Shadow().foreign(["dave", "erin"]) == {"dave"}


def test_a_directory_service_that_is_away_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory(tmp_path, monkeypatch, "exec sleep 60")
    monkeypatch.setattr(shadow, "_LOOK_S", 0.1)
    with pytest.raises(DriverError, match="directory service: it did not end in time"):
        Shadow().foreign(["dave"])


@pytest.fixture
def watch(driver: Shadow) -> Iterator[Watch]:
    with closing(driver._changes) as watch:
        yield watch


@needs_root
def test_wakes_when_a_database_or_a_key_changes(driver: Shadow, guest: Path, watch: Watch) -> None:
    driver.follow(["/home/carol"])
    watch.drain()
    made(driver)
    assert readable(watch.fileno())
    assert watch.drain()
    driver.follow(["/home/carol"])  # as the look does that comes of it
    watch.drain()
    driver.write_keys("carol", [ED25519])
    assert readable(watch.fileno())
    assert watch.drain()  # the folder is made
    driver.follow(["/home/carol"])
    assert watch.drain()
    driver.write_keys("carol", [])
    assert readable(watch.fileno())
    assert watch.drain()
    (guest / "home/carol/.ssh/authorized_keys").chmod(0o666)
    assert readable(watch.fileno())
    assert watch.drain()
    driver.follow([])
    watch.drain()
    driver.write_keys("carol", [])
    (guest / "etc/motd").write_text("hello\n")
    assert not watch.drain()
    assert stat.S_ISREG(os.stat(guest / "etc/motd").st_mode)
