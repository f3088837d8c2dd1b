"""What the daemon is made of: policies read, drivers told."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from guest_runtime import startup
from guest_runtime.validation import Validation
from reconciler import drivers, resources
from reconciler.drivers.services.systemd1 import Systemd1Units
from reconciler.errors import Forbidden, InvalidSpec, Unsupported
from reconciler.policy import Policy
from reconciler.resources.services import Services


@pytest.mark.parametrize("text", ["", "# forbid:\n#   kinds: [power]\n\n"])
def test_a_policy_of_comments_forbids_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    assert startup.policy(str(path), Validation()) == Policy()


def test_a_policy_forbids(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("forbid: {kinds: [power]}\nlimits: {freezeLease: 2m}\n")
    validation = Validation()
    policy = startup.policy(str(path), validation)
    validation.close()
    assert policy.freeze_lease_s_max == 120
    with pytest.raises(Forbidden):
        policy.check_kind("power")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("forbid: {kinds: power}\n", id="a word for a list"),
        pytest.param("# " + "x" * startup.POLICY_BYTES_MAX, id="too long"),
    ],
)
def test_a_policy_that_makes_no_sense_is_not_taken_for_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    validation = Validation()
    with pytest.raises(InvalidSpec, match=r"policy\.yaml"):
        startup.policy(str(path), validation)
    validation.close()


def test_a_policy_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="no such file"):
        startup.policy(str(tmp_path / "absent"), Validation())


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_file_is_no_policy(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "policy.yaml")
    with pytest.raises(InvalidSpec, match=r"cannot read policy .*/policy\.yaml: (it is no|Is a)"):
        startup.policy(str(tmp_path / "policy.yaml"), Validation())


def test_a_policy_that_others_can_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("# nothing\n")
    path.chmod(0o646)
    with pytest.raises(InvalidSpec, match="others can write to it"):
        startup.policy(str(path), Validation())


def test_a_policy_that_was_lost_is_not_taken_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup, "POLICY_PATH", str(tmp_path / "policy.yaml"))
    assert startup.policy(startup.POLICY_PATH, Validation()) == Policy()
    (tmp_path / "policy.yaml").symlink_to(tmp_path / "unmounted" / "policy.yaml")
    with pytest.raises(InvalidSpec, match="no such file"):
        startup.policy(startup.POLICY_PATH, Validation())


def test_drivers_are_told_what_they_must_hold_to() -> None:
    policy = Policy(commands=("/opt/*",), paths=("/srv",), freeze_lease_s_max=5)
    usable, _, _ = startup.kinds(policy, rehearse=True)
    freezer = usable["filesystems"].driver
    assert freezer.forbidden_paths == ("/srv",)
    assert (freezer.lease_s_max, freezer.forbidden_commands) == (5, ("/opt/*",))
    metrics = [d for d in usable["report"].driver if hasattr(d, "forbidden_commands")]
    assert [driver.forbidden_commands for driver in metrics] == [("/opt/*",)]


def test_the_driver_of_units_is_told_which_are_forbidden() -> None:
    driver = Systemd1Units()
    startup.restrain(Services(driver), Policy(units=("ssh",), paths=("/srv",)))
    assert (driver.forbidden_units, driver.forbidden_paths) == (("ssh",), ("/srv",))


def test_a_forbidden_kind_is_not_even_looked_at() -> None:
    usable, unusable, _ = startup.kinds(Policy(kinds=("host*",)), rehearse=True)
    assert "hostname" not in usable
    assert "forbid.kinds" in str(unusable["hostname"])


def test_a_kind_with_drivers_of_its_own_sleeps_until_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hostname").mkdir()
    monkeypatch.setattr(drivers, "__path__", [*drivers.__path__, str(tmp_path)])
    usable, unusable, asleep = startup.kinds(Policy(kinds=("power",)), rehearse=True)
    assert "hostname" in asleep
    assert {"hostname", "power"}.isdisjoint(usable)
    assert "forbid.kinds" in str(unusable["power"])
    assert startup.make("hostname", Policy(), rehearse=True).kind == "hostname"


def test_a_kind_that_cannot_be_loaded_costs_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torn_kind.py").write_text("import no_such_module\n")
    monkeypatch.setattr(resources, "__path__", [*resources.__path__, str(tmp_path)])
    with pytest.raises(Unsupported, match="cannot do torn-kind: ModuleNotFoundError"):
        startup.make("torn-kind", Policy())


def test_what_is_the_agents_own_is_out_of_reach_by_each_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    own = startup.own_paths(f"{tmp_path}/link/../link", f"{tmp_path}/policy.yaml")
    made = startup.make("files", Policy(), own=own)
    for name in ("link", "link/state.json", "real/run/x", "policy.yaml"):
        with pytest.raises(Forbidden, match="the agent's own"):
            made.driver.look(f"{tmp_path}/{name}", digest=True)
    for name in ("policy.yaml~", "links", "realm/x"):
        made.driver.look(f"{tmp_path}/{name}", digest=True)


TORN_KIND = """
from reconciler.resources.hostname import Desired, Names, Observed
from reconciler.resource import Resource
class Torn(Resource[Desired, Observed, Names], kind="torn-kind"):
    pass
import no_such_module
"""


@pytest.fixture
def half_an_update(tmp_path: Path) -> Callable[[str], str]:
    """Runs Python with a kind and a driver more, which fail as they are imported; what it prints."""
    (tmp_path / "kinds").mkdir()
    (tmp_path / "drivers").mkdir()
    (tmp_path / "kinds/torn_kind.py").write_text(TORN_KIND)
    (tmp_path / "drivers/torn_driver.py").write_text("import no_such_driver\n")
    begin = (
        "import importlib.util as u, sys; from reconciler import resources;"
        f"resources.__path__.append('{tmp_path}/kinds');"
        "s = u.find_spec('reconciler.drivers');"
        f"s.submodule_search_locations.append('{tmp_path}/drivers');"
        "drivers = sys.modules['reconciler.drivers'] = u.module_from_spec(s);"
        "s.loader.exec_module(drivers);"
    )

    def run(code: str) -> str:
        command = [sys.executable, "-c", begin + code]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    return run


def test_half_an_update_costs_neither_the_agent_nor_other_kinds(half_an_update: Callable[[str], str]) -> None:
    told = half_an_update(
        "from guest_runtime import startup; from reconciler.policy import Policy;"
        "usable, unusable, _ = startup.kinds(Policy(), rehearse=True);"
        "print('hostname' in usable, unusable['torn-kind'])"
    )
    assert told == "True cannot do torn-kind: ModuleNotFoundError: No module named 'no_such_module'\n"


def test_half_an_update_costs_no_document_of_other_kinds(half_an_update: Callable[[str], str]) -> None:
    told = half_an_update(
        "from guest_runtime.validator import answer;"
        "print(answer({'spec': {'hostname': 'web'}})['normal']);"
        "print(answer({'spec': {'torn-kind': {}}})['faults'][0][3]);"
        "print(answer({'policy': 'forbid: {kinds: [torn-kind], acts: [torn-kind.tear]}', 'source': 'p'})"
        "['acts']);"
        "print(answer({'policy': 'forbid: {acts: [hostname.tear]}', 'source': 'p'})['faults'][0][3][:20])"
    )
    assert told.splitlines() == [
        "{'hostname': {'static': 'web'}}",
        "this kind cannot be loaded here: ModuleNotFoundError: No module named 'no_such_module'",
        "('torn-kind.tear',)",
        "no act is called so ",
    ]


def test_a_driver_that_cannot_be_loaded_is_told_where_one_is_missing(
    half_an_update: Callable[[str], str],
) -> None:
    told = half_an_update("from reconciler.resource import Driver; print(drivers._why_not(Driver))")
    why = "torn_driver cannot be loaded: ModuleNotFoundError: No module named 'no_such_driver'\n"
    assert told.endswith(f"; {why}")


def test_what_sleeps_takes_no_memory() -> None:
    code = (
        "import sys; from guest_runtime import startup; from reconciler.policy import Policy;"
        "asleep = startup.kinds(Policy(), rehearse=True)[2];"
        "print([n for n in sys.modules for k in asleep if [k.replace('-', '_')] == n.split('.')[2:3]])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_what_no_kind_uses_is_unloaded() -> None:
    code = (
        "import sys; from guest_runtime import startup; from reconciler.policy import Policy;"
        "usable, *_ = startup.kinds(Policy(), rehearse=True);"
        "before = {name for name in sys.modules if name.startswith('reconciler.drivers.')};"
        "startup.unload_unused(usable);"
        "used = {type(d).__module__ for kind in usable.values() for d in startup.drivers_of(kind)};"
        "print(before > used, {name for name in before if name in sys.modules} == used)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "True True\n"
