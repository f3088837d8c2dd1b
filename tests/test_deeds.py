"""What is remembered of deeds, and what may go."""

import pytest

from reconciler.deeds import ALIKE_MAX, KIND_MAX, remember
from reconciler.resource import Deed, Json, Past

PAST = Past(generation=7, in_force=9, boot_id="boot-1")
UNITS = {"units": {"nginx": {"restart": "v1"}, "db.service": {"reload": 12}}}
DONE = Deed("done", "boot-1", 1)


def left(deeds: list[str], normal: Json, past: Past = PAST) -> list[str]:
    return list(remember(dict.fromkeys(deeds, DONE), deeds[-1], normal, past))


def crowd(act: str, number: int = ALIKE_MAX) -> list[str]:
    return [f"{act}@other.{n}" for n in range(number)]


@pytest.mark.parametrize(
    ("deed", "normal", "stays"),
    [
        pytest.param("restart:nginx.service:v1", UNITS, True, id="its token is named"),
        pytest.param("restart:alias.service:v1", UNITS, True, id="by another name of its unit"),
        pytest.param("reload:db.service:12", UNITS, True, id="a number"),
        pytest.param("restart:nginx.service:v0", UNITS, False, id="a token of before"),
        pytest.param("reboot:a@b", {"reboot": {"token": "a@b"}}, True, id="a token with a mark"),
        pytest.param("write@7:/etc/x", {"/etc/x": {}}, True, id="of the generation in question"),
        pytest.param("write@6:/etc/x", {"/etc/x": {}}, False, id="of a generation of before"),
        pytest.param("freeze@9", {}, True, id="of the generation in force"),
        pytest.param("freeze@8", {}, False, id="of the one before"),
        pytest.param("start:x.service@boot-1", {}, True, id="of this boot"),
        pytest.param("start:x.service@boot-0", {}, False, id="of another boot"),
        pytest.param("run@7:build", {"tasks": [{"name": "7", "token": "build"}]}, True, id="in a list"),
    ],
)
def test_of_one_act_the_newest_stay_and_what_the_document_means(deed: str, normal: Json, stays: bool) -> None:
    others = crowd(deed.replace("@", ":").partition(":")[0])
    assert (deed in left([deed, *others], normal)) is stays


@pytest.mark.parametrize("deed", ["trim@weekly:12", "reboot:a@b"])
def test_acts_of_another_sort_push_none_out(deed: str) -> None:
    assert left([deed, *crowd("freeze", ALIKE_MAX + 1)], {}) == [deed, *crowd("freeze", ALIKE_MAX + 1)[1:]]


def test_what_is_used_anew_is_the_newest() -> None:
    deeds = [*crowd("ring", ALIKE_MAX - 1), "ring@again", "ring@more"]
    assert left(deeds, {}) == deeds[1:]


def test_a_kind_with_a_sort_for_each_name_is_bounded_too() -> None:
    jobs = [f"hash.job-{n}@crc@1.0" for n in range(KIND_MAX)]
    named = ["hash.carol@aa@1.0", "hash.carol@bb@2.0", "restart:nginx.service:v1"]
    stay = left([*named, *jobs], {"carol": {}, **UNITS})
    assert len(stay) == KIND_MAX
    assert stay == [*named[1:], *jobs[2:]]  # of carol's the newest


def test_what_many_did_in_this_boot_keeps_what_the_document_has_still() -> None:
    jobs = [f"start:job-{n}.service:boot-1" for n in range(KIND_MAX + 5)]
    stay = left(["start:nginx.service:boot-1", "restart:alias.service:v1", *jobs], UNITS)
    assert len(stay) == KIND_MAX
    assert stay[:3] == ["start:nginx.service:boot-1", "restart:alias.service:v1", jobs[7]]


def test_of_counters_that_all_units_write_the_newest_of_each_unit_stays() -> None:
    units = {"mysql": {"restart": "3"}, **{f"u{n}": {"restart": str(n)} for n in range(50)}}
    deeds = [f"restart:u{unit}.service:{count}" for count in range(50) for unit in range(50)]
    stay = left(["restart:mariadb.service:3", *deeds], {"units": units})
    assert len(stay) == KIND_MAX
    assert stay == ["restart:mariadb.service:3", *deeds[1 - KIND_MAX :]]


def test_of_a_generation_each_target_is_its_own() -> None:
    deeds = [f"write@7:/etc/{n}" for n in range(KIND_MAX + 1)]
    assert left(deeds, {f"/etc/{n}": {} for n in range(KIND_MAX + 1)}) == deeds


def test_all_that_the_document_names_stays_whatever_the_bound() -> None:
    tokens = [f"t{n}" for n in range(KIND_MAX + 1)]
    assert len(left([f"ring:{token}" for token in tokens], {"ring": tokens})) == KIND_MAX + 1
