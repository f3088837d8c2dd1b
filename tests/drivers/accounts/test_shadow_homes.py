"""Homes of accounts in databases of a folder: made, taken, forbidden, and gone with their keys."""

import os
from pathlib import Path

import pytest

from reconciler.drivers.accounts import shadow
from reconciler.drivers.accounts.shadow import Shadow
from reconciler.errors import DriverError
from reconciler.subjects.people.changes import is_locked
from reconciler.subjects.people.rules import LOCK_DAY
from tests.drivers.accounts.test_shadow import PERSON, carol, driver, guest, made, tool
from tests.subjects.people.test_ssh_keys import ED25519

assert driver
assert guest  # the fixtures

pytestmark = pytest.mark.root


def test_keys_in_the_home(driver: Shadow, guest: Path) -> None:
    made(driver)
    driver.write_keys("carol", [ED25519])
    assert driver.belongings("carol", carol(driver), keys=True).keys.ours == (ED25519,)
    assert (guest / "home/carol/.ssh").stat().st_uid == carol(driver).uid


@pytest.mark.parametrize("pattern", ["/home", "/home/*/.ssh", "/home/carol/.ssh/authorized_keys"])
def test_the_policy_forbids_folders(driver: Shadow, pattern: str) -> None:
    made(driver)
    driver.forbidden_paths = (pattern,)
    assert "forbid.paths" in driver.belongings("carol", carol(driver), keys=True).keys.fault
    with pytest.raises(DriverError, match=r"forbid\.paths"):
        driver.write_keys("carol", [ED25519])


def test_a_new_account_is_where_the_document_says_whatever_useradd_thinks(
    driver: Shadow, guest: Path
) -> None:
    (guest / "etc/default").mkdir()
    (guest / "etc/default/useradd").write_text("HOME=/srv\nEXPIRE=2001-01-01\n")
    driver.create("carol", PERSON | {"expires": LOCK_DAY})
    assert (carol(driver).home, carol(driver).expires) == ("/home/carol", LOCK_DAY)
    assert is_locked(carol(driver))
    assert os.listdir(guest / "home") == []


def test_makes_a_home_that_is_missing_and_no_other(driver: Shadow, guest: Path) -> None:
    driver.create("carol", PERSON)
    driver.forbidden_paths = ("/home",)
    with pytest.raises(DriverError, match=r"forbid\.paths"):
        driver.make_home("carol")
    driver.forbidden_paths = ()
    (guest / "etc/fstab").write_text("server:/people /home nfs _netdev 0 0\n")
    with pytest.raises(DriverError, match="nothing is mounted at /home yet"):
        driver.make_home("carol")
    assert os.listdir(guest / "home") == []
    (guest / "etc/fstab").unlink()
    driver.make_home("carol")
    assert (guest / "home/carol").stat().st_uid == carol(driver).uid
    (guest / "home/carol/hers").touch()
    driver.make_home("carol")
    assert sorted(os.listdir(guest / "home/carol")) == [".profile", "hers"]


def test_a_home_of_somebody_elses_is_none_and_stays(driver: Shadow, guest: Path) -> None:
    (guest / "home/carol").mkdir()
    account = made(driver)
    found = driver.belongings("carol", account, keys=False)
    assert (found.home_there, found.home_taken) == (False, True)
    assert (guest / "home/carol").stat().st_uid == 0
    os.chown(guest / "home/carol", account.uid, account.gid)
    found = driver.belongings("carol", account, keys=False)
    assert (found.home_there, found.home_taken) == (True, False)


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param("/home", id="above it"),
        pytest.param("/home/*/vault", id="in it"),
        pytest.param("/data", id="where a link leads"),
        pytest.param("/data/people/carol/vault", id="in it where a link leads"),
    ],
)
def test_what_the_policy_forbids_goes_with_no_home(driver: Shadow, guest: Path, pattern: str) -> None:
    (guest / "data/people").mkdir(parents=True)
    (guest / "home").rmdir()
    (guest / "home").symlink_to("data/people")
    uid = made(driver).uid
    driver.forbidden_paths = (pattern,)
    with pytest.raises(DriverError, match=r"forbid\.paths"):
        driver.remove("carol", home=True)
    with pytest.raises(DriverError, match=r"forbid\.paths"):
        driver.modify("carol", {"uid": 2000})
    assert carol(driver).uid == uid
    driver.modify("carol", {"comment": "C"})
    driver.remove("carol", home=False)
    assert os.listdir(guest / "data/people") == ["carol"]
    driver.create("carol", PERSON | {"uid": uid})
    driver.forbidden_paths = ("/home/dave", "/data/people/c")
    driver.remove("carol", home=True)
    assert os.listdir(guest / "data/people") == []


@pytest.mark.parametrize("home", ["", "/", "relative"])
def test_no_home_is_none(driver: Shadow, guest: Path, home: str) -> None:
    (guest / "etc/passwd").write_text(f"old:x:1000:0::{home}:\n")
    account = driver.databases().accounts["old"]
    account = driver.belongings("old", account, keys=True)
    assert not account.home_there
    assert account.keys.ours == ()
    with pytest.raises(DriverError, match="names none"):
        driver.make_home("old")


@pytest.mark.parametrize("loaded", [True, False])
def test_a_home_is_labelled_before_it_has_its_name(
    driver: Shadow, guest: Path, monkeypatch: pytest.MonkeyPatch, loaded: bool
) -> None:
    driver.create("carol", PERSON)
    tool(guest, monkeypatch, "restorecon", f'echo "$@" >{guest}/said; ls -A {guest}/home >>{guest}/said')
    monkeypatch.setattr(shadow, "_SELINUX", str(guest / ("home" if loaded else "selinux")))
    driver.make_home("carol")
    assert os.listdir(guest / "home") == ["carol"]
    said = f"-R -- {guest}/home/.carol.new\n.carol.new\n"
    assert (guest / "said").exists() is loaded
    assert not loaded or (guest / "said").read_text() == said
