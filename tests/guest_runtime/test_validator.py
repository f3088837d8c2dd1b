"""What the validating child answers, without the process around it."""

import json
from hashlib import sha256

import pytest

from guest_runtime.validator import answer
from reconciler.resource import Json
from reconciler.spec import digest

NORMAL = {"hostname": {"static": "web-01"}}


def test_a_spec_takes_its_normal_form() -> None:
    assert answer({"spec": {"hostname": "web-01"}}) == {"normal": NORMAL, "digest": digest(NORMAL)}


def test_a_transferred_spec_has_the_digest_it_was_announced_with() -> None:
    text = json.dumps(NORMAL)
    name = "sha256:" + sha256(text.encode()).hexdigest()
    assert answer({"text": text, "digest": name})["normal"] == NORMAL


def test_a_policy_becomes_its_fields() -> None:
    fields = answer({"policy": "forbid:\n  kinds: [power]\n", "source": "policy.yaml"})
    assert list(fields["kinds"]) == ["power"]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        pytest.param({"spec": {"hostnam": "x"}}, "hostname", id="an unknown kind names the nearest"),
        pytest.param({"spec": []}, "", id="no object"),
        pytest.param({"text": "{}", "digest": "sha256:" + "0" * 64}, "digest", id="other bytes"),
        pytest.param(
            {"text": "{", "digest": "sha256:" + sha256(b"{").hexdigest()}, "not JSON", id="torn JSON"
        ),
        pytest.param(
            {"text": '{"a":1,"a":2}', "digest": "sha256:" + sha256(b'{"a":1,"a":2}').hexdigest()},
            "a key is given twice",
            id="a key twice",
        ),
        pytest.param({"policy": "forbid: 1\n", "source": "policy.yaml"}, "policy.yaml", id="a wrong policy"),
    ],
)
def test_what_is_refused_comes_back_as_faults(request_: Json, words: str) -> None:
    faults = answer(request_)["faults"]
    assert any(words in str(part) for fault in faults for part in fault)
