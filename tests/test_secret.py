"""Secrets are used once, in time, and are shown nowhere."""

import json
import pickle
from base64 import b64encode
from copy import copy
from typing import Any

import pytest

from reconciler.errors import DriverError, InvalidSpec, Terminal
from reconciler.secret import (
    SECRET_BYTES_MAX,
    SECRET_MAX_S,
    SECRET_S,
    SECRETS_BYTES_MAX,
    SECRETS_MAX,
    Safe,
    Secret,
    decoded,
)

WORD = "kept-under-the-mat"


def written(word: str = WORD) -> str:
    return b64encode(word.encode()).decode()


def safe_with_one(now_s: float = 0.0) -> Safe:
    safe = Safe()
    safe.put(decoded({"user": {"credential": written()}}), now_s)
    return safe


def test_it_is_taken_once_by_its_own_kind() -> None:
    safe = safe_with_one()
    mine, others = safe.of("user"), safe.of("accounts")
    assert (mine.has("credential"), others.has("credential")) == (True, False)
    with mine.take("credential") as secret:
        assert secret.text() == WORD
    assert not mine.has("credential")
    with pytest.raises(DriverError, match=r"cannot use the secret of user.credential: it is gone"):
        mine.take("credential")


def test_it_is_overwritten_after_use() -> None:
    with safe_with_one().of("user").take("credential") as secret:
        data = secret.data
    assert data == bytes(len(WORD))


def test_it_is_gone_after_its_time_whether_used_or_not() -> None:
    safe = safe_with_one(now_s=100.0)
    [kept] = safe._kept.values()
    safe.expire(100.0 + SECRET_S - 0.1)
    assert safe.of("user").has("credential")
    assert safe.due_s == 100.0 + SECRET_S
    safe.expire(safe.due_s)
    assert not safe.of("user").has("credential")
    assert kept.data == bytes(len(WORD))
    assert safe.due_s == float("inf")


def test_it_waits_for_what_comes_before_it_within_a_bound() -> None:
    safe = safe_with_one(now_s=100.0)
    now_s = safe.due_s
    while safe.of("user").has("credential"):
        now_s = safe.due_s
        assert now_s <= 100.0 + SECRET_MAX_S
        safe.expire(now_s, under_way=True)
    assert now_s == 100.0 + SECRET_MAX_S

    safe = safe_with_one(now_s=100.0)
    safe.expire(safe.due_s, under_way=True)
    safe.expire(safe.due_s - 0.1)
    assert safe.of("user").has("credential")
    safe.expire(safe.due_s)
    assert not safe.of("user").has("credential")


def test_another_document_takes_its_place() -> None:
    safe = safe_with_one()
    [kept] = safe._kept.values()
    safe.put({}, 1.0)
    assert kept.data == bytes(len(WORD))


def test_who_acts_for_one_document_does_not_get_the_secret_of_the_next() -> None:
    safe = safe_with_one()
    acting = safe.of("user")
    safe.put(decoded({"user": {"credential": written("another")}}), 1.0)
    assert not acting.has("credential")
    with pytest.raises(DriverError):
        acting.take("credential")
    with safe.of("user").take("credential") as secret:
        assert secret.text() == "another"


def test_a_retry_takes_the_secret_from_nobody() -> None:
    safe = safe_with_one()
    acting = safe.of("user")
    safe.put(decoded({"user": {"credential": written()}}), 1.0, of_another=False)
    with acting.take("credential") as secret:
        assert secret.text() == WORD
    assert not safe.of("user").has("credential")


@pytest.mark.parametrize(
    "show", [repr, str, lambda s: f"{s}", lambda s: f"{[s]}"], ids=["repr", "str", "format", "list"]
)
def test_it_is_not_shown(show: Any) -> None:
    assert WORD not in show(Secret(WORD.encode()))


@pytest.mark.parametrize("carry", [json.dumps, pickle.dumps, copy], ids=["json", "pickle", "copy"])
def test_it_is_not_carried_away(carry: Any) -> None:
    with pytest.raises(TypeError):
        carry(Secret(WORD.encode()))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        pytest.param(b"word\n", "word", id="an editor's line end"),
        pytest.param(b"word\r\n", "word", id="another editor's"),
        pytest.param(b"word\n\n", "word\n", id="one of two"),
        pytest.param(b" w\xc3\xb6rd ", " wörd ", id="spaces are its own"),
    ],
)
def test_its_text(data: bytes, text: str) -> None:
    assert Secret(data).text() == text


def test_a_text_that_is_none_says_so_without_itself() -> None:
    with pytest.raises(Terminal, match="not UTF-8") as caught:
        Secret(WORD.encode() + b"\xff").text()
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        pytest.param([], "no mapping", id="a list"),
        pytest.param({"user": WORD}, "no mapping", id="no paths"),
        pytest.param({"user": {"credential": WORD}}, "not base64", id="as it is"),
        pytest.param({"user": {"credential": 7}}, "not base64", id="a number"),
        pytest.param({"user": {"credential": None}}, "not base64", id="nothing"),
        pytest.param(
            {"user": {str(n): written() for n in range(SECRETS_MAX + 1)}}, "are more than", id="too many"
        ),
        pytest.param({"user": {"c": written("x" * (SECRET_BYTES_MAX + 1))}}, "is longer", id="too long"),
        pytest.param(
            {"user": dict.fromkeys(map(str, range(SECRETS_BYTES_MAX // 60_000 + 1)), written("x" * 60_000))},
            "together they are longer",
            id="too long together",
        ),
    ],
)
def test_what_is_sent_wrongly_is_refused_and_not_shown(sent: Any, why: str) -> None:
    with pytest.raises(InvalidSpec, match=why) as caught:
        decoded(sent)
    assert WORD not in str(caught.value)
    assert caught.value.__cause__ is None
