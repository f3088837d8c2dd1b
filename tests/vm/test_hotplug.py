"""Processors and memory of a guest into which its host plugs more of them while it runs."""

import re
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.vm.guest import Guest, boot_once
from tests.vm.image import Image
from tests.vm.product import again, agent, configure, signal_agent
from tests.vm.wire import Host

pytestmark = pytest.mark.vm

MIB = 1 << 20
CPU = "/sys/devices/system/cpu"
MEMORY = "/sys/devices/system/memory"


class Pluggable(Guest):
    """A guest with room for two more processors, and for two modules of memory."""

    kept: ClassVar[str] = "booted-pluggable"
    processors: ClassVar[str] = "2,maxcpus=4"
    memory_slots: ClassVar[str] = ",slots=2,maxmem=2G"

    def plug_processor(self) -> None:
        free = [slot for slot in self.qmp("query-hotpluggable-cpus") if "qom-path" not in slot]
        slot = min(free, key=lambda slot: int(slot["props"]["core-id"]))
        self.qmp("device_add", driver=slot["type"], id=f"cpu{slot['props']['core-id']}", **slot["props"])

    def plug_memory(self, mib: int = 256) -> None:
        self.qmp("object-add", **{"qom-type": "memory-backend-ram", "id": "plugged", "size": mib * MIB})
        self.qmp("device_add", driver="pc-dimm", id="module", memdev="plugged")

    def online(self) -> str:
        return self.text(f"cat {CPU}/online")

    def memory_kib(self) -> int:
        return int(self.text("awk '/MemTotal/ {print $2}' /proc/meminfo"))


@pytest.fixture(scope="session")
def booted(image: Image) -> Path:
    return boot_once(image, Pluggable)


@pytest.fixture
def guest(image: Image, booted: Path, request: pytest.FixtureRequest) -> Iterator[Pluggable]:
    with Pluggable(image, booted) as guest:
        assert isinstance(guest, Pluggable)
        yield guest
        if getattr(request.node, "failed", False) and not guest.is_off():
            print(guest.run("journalctl -b --no-pager -u guest-reconciler -n 60", check=False).out)


@pytest.fixture
def host(guest: Pluggable) -> Iterator[Host]:
    with Host(guest.channel) as host:
        yield host


def seen(host: Host, kind: str) -> dict[str, Any]:
    return dict(host.status["observed"][kind])


def planned(host: Host, spec: dict[str, Any]) -> list[tuple[str, str]]:
    kinds = host.call("plan", spec=spec)["kinds"]
    return [(action["verb"], action["target"]) for kind in kinds.values() for action in kind["actions"]]


def are_online(listed: str, status: dict[str, Any]) -> bool:
    return bool(status["observed"]["cpus"]["onlineList"] == listed)


def told(host: Host, kind: str) -> list[str]:
    return [event["reason"] for event in host.events if event["kind"] == kind]


def test_processors_that_are_plugged_in_are_used(guest: Pluggable, host: Host) -> None:
    host.converge({"cpus": "all"})
    for online in ("0-2", "0-3"):
        guest.plug_processor()
        began = time.monotonic()
        host.until(partial(are_online, online), 60)
        print(f"a processor in use after {time.monotonic() - began:.1f} s")
        assert guest.online() == online
    host.reason("cpus", "InSync")
    assert {"CpusPlugged", "CpusSwitched"} <= set(told(host, "cpus"))
    assert guest.text("nproc") == "4"


def test_a_number_of_processors_is_kept(guest: Pluggable, host: Host) -> None:
    host.converge({"cpus": {"online": 1}})
    assert guest.online() == "0"
    assert seen(host, "cpus")["fixedList"] == "0"
    events = len(host.events)
    assert planned(host, {"cpus": 1}) == []
    guest.run(f"echo 1 >{CPU}/cpu1/online")
    guest.wait_until(f"grep -qx 0 {CPU}/online")
    host.until(lambda _: "CpusSwitched" in [event["reason"] for event in host.events[events:]], 30)
    host.reason("cpus", "InSync")
    # What is no longer written stays as it is, and is not looked at.
    host.converge({"hostname": "guest"})
    assert guest.online() == "0"
    guest.run(f"echo 1 >{CPU}/cpu1/online; sleep 2")
    assert guest.online() == "0-1"


def test_processors_that_cannot_be_are_named(guest: Pluggable, host: Host) -> None:
    host.apply({"cpus": 3})
    assert "2 are plugged in; there is room for 4" in host.reason("cpus", "NotPresent")["message"]
    guest.plug_processor()
    host.reason("cpus", "InSync")
    assert guest.online() == "0-2"
    host.apply({"cpus": {"off": "0,2"}})
    assert host.reason("cpus", "NoSwitch")["message"].startswith("0: ")
    assert guest.online() == "0-1"


def test_a_rehearsal_and_a_policy_leave_processors_alone(guest: Pluggable, host: Host) -> None:
    assert planned(host, {"cpus": 1}) == [("offline", "cpu1")]
    assert guest.online() == "0-1"
    guest.run("printf 'forbid: {acts: [cpus.offline]}\\n' >/etc/guest-reconciler/policy.yaml")
    configure(guest)
    with again(guest, host) as later:
        later.apply({"cpus": 1})
        assert "cpus.offline" in later.reason("cpus", "Forbidden")["message"]
    assert guest.online() == "0-1"


def test_memory_that_is_plugged_in_is_used_and_can_go_again(guest: Pluggable, host: Host) -> None:
    before = guest.memory_kib()
    host.converge({"memory-blocks": {"online": "all", "zone": "movable"}})
    assert seen(host, "memory-blocks")["blockBytes"] == 128 * MIB
    guest.plug_memory()
    began = time.monotonic()
    host.until(lambda status: status["observed"]["memory-blocks"].get("movableList") == "32-33", 60)
    print(f"memory in use after {time.monotonic() - began:.1f} s")
    assert planned(host, {"memory-blocks": {"online": "all", "zone": "movable"}}) == []
    assert guest.memory_kib() - before == 256 * 1024
    assert {"MemoryPlugged", "MemorySwitched"} <= set(told(host, "memory-blocks"))
    # By hand it goes, and comes back where it was.
    guest.run(f"echo offline >{MEMORY}/memory33/state")
    guest.wait_until(f"grep -qx online {MEMORY}/memory33/state")
    host.converge({"memory-blocks": 8})
    assert seen(host, "memory-blocks")["offlineList"] == "32-33"
    assert guest.memory_kib() == before
    # What is no longer written stays as it is, and is not looked at.
    host.converge({"hostname": "guest"})
    guest.run(f"echo online_movable >{MEMORY}/memory33/state; sleep 2")
    assert guest.text(f"cat {MEMORY}/memory32/state {MEMORY}/memory33/state").split() == ["offline", "online"]
    host.converge({"memory-blocks": 8})
    assert guest.memory_kib() == before
    guest.qmp("device_del", id="module")
    host.until(lambda status: "offlineList" not in status["observed"]["memory-blocks"], 60)
    host.reason("memory-blocks", "InSync")


def test_memory_that_cannot_be_emptied_is_named_and_all_else_goes_on(guest: Pluggable, host: Host) -> None:
    guest.plug_memory()
    guest.wait_until(f"test -e {MEMORY}/memory33/state")
    # What is in it belongs to the kernel then, and stays there.
    guest.run(f"echo online_kernel >{MEMORY}/memory32/state")
    host.converge({"memory-blocks": {"size": "1100Mi", "zone": "kernel"}})
    assert seen(host, "memory-blocks")["online"] == 9
    host.apply({"memory-blocks": 2, "hostname": "goes-on"})
    host.until(lambda _: host.condition("memory-blocks").get("status") == "False", 60)
    host.until(lambda status: status["observed"]["hostname"]["static"] == "goes-on", 60)
    host.until(lambda _: host.condition("memory-blocks").get("reason") in ("DriverError", "InUse"), 120)
    message = host.condition("memory-blocks")["message"]
    assert re.search(r"cannot take memory\d+ offline: |MiB are free, and", message), message


def test_a_plan_goes_on_after_the_agent_was_killed(guest: Pluggable, host: Host) -> None:
    guest.plug_memory()
    guest.wait_until(f"test -e {MEMORY}/memory33/state")
    before = agent(guest)
    host.apply({"memory-blocks": "all", "cpus": 1})
    signal_agent(guest, "KILL")
    with again(guest, host) as later:
        later.reason("memory-blocks", "InSync")
        later.reason("cpus", "InSync")
    assert agent(guest) != before
    assert guest.online() == "0"
    assert guest.text(f"cat {MEMORY}/memory33/state") == "online"
