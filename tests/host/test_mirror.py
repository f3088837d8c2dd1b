"""The copy of a status: what is taken, what is repeated, what is lost."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import RemoteProtocolError
from reconciler.host import mirror as module
from reconciler.host.mirror import Lost, Mirror
from reconciler.status import merge_patch

WORDS = st.text(max_size=8)
JSON = st.recursive(
    st.booleans() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=8,
)


def _at(revision: int, status: dict[str, Any]) -> Mirror:
    mirror = Mirror()
    mirror.begin("boot", {"revision": revision, "status": status})
    return mirror


@given(st.lists(st.dictionaries(WORDS, JSON, max_size=4), min_size=2, max_size=5))
def test_patches_add_up(statuses: list[dict[str, Any]]) -> None:
    mirror = _at(1, statuses[0])
    for revision, (old, new) in enumerate(pairwise(statuses), start=2):
        params = {"revision": revision, "base": revision - 1, "patch": merge_patch(old, new)}
        assert mirror.take(params)
        assert not mirror.take(params)  # comes twice
        assert (mirror.revision, mirror.status) == (revision, new)


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({"revision": 9, "base": 7, "patch": {}}, id="older-base"),
        pytest.param({"revision": 9, "patch": {}}, id="no-base"),
    ],
)
def test_a_patch_that_does_not_fit_is_lost(params: dict[str, Any]) -> None:
    mirror = _at(8, {"a": 1})
    with pytest.raises(Lost):
        mirror.take(params)
    assert mirror.status == {"a": 1}


def test_the_boot_is_that_of_the_status_and_not_of_an_older_hello() -> None:
    mirror = Mirror()
    status = {"agent": {"bootId": "new"}}
    assert mirror.begin("old", {"revision": 1, "status": status})
    assert (mirror.boot_id, mirror.have("old")) == ("new", {})


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"revision": True, "status": {}}, id="bool"),
        pytest.param({"revision": 9, "status": []}, id="list"),
        pytest.param({"revision": 9, "base": 8, "patch": 7}, id="patch-to-a-number"),
    ],
)
def test_what_makes_no_sense_is_refused(params: dict[str, Any]) -> None:
    mirror = _at(8, {"a": 1})
    with pytest.raises(RemoteProtocolError):
        mirror.take(params)
    assert mirror.status == {"a": 1}


def test_a_guest_can_not_grow_the_copy_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATCHED_BYTES_MAX", 1000)
    mirror = _at(1, {})

    def grow() -> None:
        for revision in range(2, 100):
            mirror.take({"revision": revision, "base": revision - 1, "patch": {str(revision): "x" * 100}})

    with pytest.raises(Lost):
        grow()
    assert mirror.have("boot") == {}  # so that the whole is asked for


def test_a_place_is_known_in_its_boot_only() -> None:
    mirror = _at(8, {"a": 1})
    assert mirror.have("boot") == {"have": {"bootId": "boot", "revision": 8}}
    assert mirror.have("later") == {}
    with pytest.raises(RemoteProtocolError):
        mirror.begin("later", {"revision": 2})
    assert not mirror.begin("boot", {"revision": 8})
