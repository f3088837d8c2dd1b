"""What is remembered of freezes, and by whom it may be acted on."""

import json
from pathlib import Path

import pytest

from reconciler.guarding.ledger import Ledger

MOUNTS = [{"path": "/data", "device": "8:1"}]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(str(tmp_path / "run" / "freeze.json"))


def test_one_freeze_from_begin_to_end(ledger: Ledger) -> None:
    assert ledger.is_settled()
    assert ledger.begin(7, 160.0, MOUNTS, "a lack") == 1
    ledger.extend(190.0)
    held = {"epoch": 1, "generation": 7, "until": 190.0, "mounts": MOUNTS, "note": "a lack"}
    assert ledger.read()["held"] == held
    assert not ledger.is_settled()
    ledger.end("LeaseEnded", "nobody renewed")
    assert ledger.read()["last"] == {
        "epoch": 1,
        "generation": 7,
        "ended": "LeaseEnded",
        "message": "nobody renewed",
    }
    assert ledger.is_settled()


def test_an_epoch_is_never_given_twice_whoever_asks(ledger: Ledger) -> None:
    epochs = []
    for _ in range(3):
        again = Ledger(ledger.path)
        epochs.append(again.begin(7, 160.0, MOUNTS, ""))
        again.end("Thawed")
    assert epochs == [1, 2, 3]


def test_an_end_without_a_freeze_and_an_extension_of_none_change_nothing(ledger: Ledger) -> None:
    ledger.end("Thawed")
    ledger.extend(190.0)
    ledger.complain(["x"])
    assert set(ledger.read()) == {"bootId", "epoch"}


def test_complaints_are_added_to_the_last_freeze(ledger: Ledger) -> None:
    ledger.begin(7, 160.0, MOUNTS, "")
    ledger.end("Broken", "/data was thawed")
    ledger.complain(["a hook failed", "another too"])
    assert ledger.read()["last"]["message"] == "/data was thawed; a hook failed; another too"
    ledger.complain(["x" * 9000])
    assert len(ledger.read()["last"]["message"]) == 2000


def test_what_is_owed_is_remembered_until_it_is_paid(ledger: Ledger) -> None:
    ledger.owe(["/a", "/b"])
    assert Ledger(ledger.path).read()["owed"] == ["/a", "/b"]
    assert not ledger.is_settled()
    ledger.owe([])
    assert ledger.is_settled()


def test_one_at_a_time_may_thaw_by_it(ledger: Ledger) -> None:
    other = Ledger(ledger.path)
    assert ledger.lock()
    assert ledger.lock()  # it has it already
    assert not other.lock()
    ledger.unlock()
    assert other.lock()
    other.unlock()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="empty"),
        pytest.param("{", id="torn"),
        pytest.param("[]", id="not an object"),
        pytest.param(json.dumps({"bootId": "another", "epoch": 9, "held": {}}), id="of another boot"),
        pytest.param(" " * (5 << 20), id="not ours"),
    ],
)
def test_what_says_nothing_of_this_boot_is_not_believed(ledger: Ledger, content: str) -> None:
    path = Path(ledger.path)
    path.parent.mkdir()
    path.write_text(content)
    assert ledger.read()["epoch"] == 0
    assert ledger.is_settled()
