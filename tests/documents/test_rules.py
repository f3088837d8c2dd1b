"""The rules' vocabulary, held to what cerberus does and to what JSON Schema can say."""

import pytest

from reconciler.documents.rules import at, compiled, is_secret, normal_form, validator_of
from reconciler.documents.tree import Finding
from reconciler.resource import Json, Rules

TEXT: Rules = {"type": "string"}


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param({"type": "string", "default": "x"}, id="fills in"),
        pytest.param({"type": "string", "coerce": str}, id="coerces by itself"),
        pytest.param({"type": "string", "rename": "x"}, id="renames"),
        pytest.param({"type": "string", "nullable": True}, id="null"),
        pytest.param({"type": "date"}, id="a type that JSON has not"),
        pytest.param({"type": ["string", "duration"]}, id="a type of ours beside another"),
        pytest.param({"allowed": ["x"]}, id="no type"),
        pytest.param({"type": "string", "meta": {"summary": "x"}}, id="unknown meta"),
        pytest.param({"type": "dict", "schema": {"x": {"type": "text"}}}, id="deep inside"),
    ],
)
def test_what_is_not_in_the_vocabulary(rule: Rules) -> None:
    with pytest.raises(AssertionError):
        compiled(rule)


@pytest.mark.parametrize(
    ("rule", "value", "passes"),
    [
        pytest.param({"type": "integer"}, True, False, id="true is no integer"),
        pytest.param({"type": "number"}, False, False, id="false is no number"),
        pytest.param({"type": "float"}, True, False, id="true is no float"),
        pytest.param({"type": "duration"}, True, False, id="true is no duration"),
        pytest.param({"type": "token"}, True, False, id="true is no token"),
        pytest.param({"type": "float"}, 1, True, id="an integer is a float"),
        pytest.param({"type": "string", "regex": "a+"}, "aa", True, id="regex"),
        pytest.param({"type": "string", "regex": "a+"}, "aab", False, id="regex matches to the end"),
        pytest.param({"type": "string", "regex": "a+"}, "aa\n", False, id="line feed behind"),
        pytest.param({"type": "string", "regex": "a+$"}, "aa\n", False, id="line feed behind a dollar"),
        pytest.param({"type": "string", "regex": "a|b"}, "ab", False, id="all of an alternative"),
        pytest.param(TEXT, "x" * 4096, True, id="the longest text"),
        pytest.param(TEXT, "x" * 4097, False, id="a longer text"),
        pytest.param({**TEXT, "maxlength": 5000}, "x" * 5000, True, id="unless the rule says so"),
        pytest.param({**TEXT, "maxlength": 5000}, "x" * 5001, False, id="and then no longer"),
        pytest.param({"type": "duration", "min": 60}, "1m", True, id="a limit in seconds"),
        pytest.param({"type": "duration", "min": 60}, "59s", False, id="below it"),
        pytest.param({"type": "duration", "max": 60}, 61, False, id="above it"),
        pytest.param({"type": "size", "max": 1024}, "1Ki", True, id="a limit in bytes"),
        pytest.param({"oneof": [{"type": "integer"}, TEXT]}, 1, True, id="one of two"),
        pytest.param({"oneof": [{"type": "integer"}, {"type": "number"}]}, 1, False, id="both of two"),
    ],
)
def test_a_value_passes_or_not(rule: Rules, value: Json, passes: bool) -> None:
    assert validator_of({"x": rule}).validate({"x": value}, normalize=False) is passes


DEEP: Rules = {
    "type": "dict",
    "schema": {
        "list": {
            "type": "list",
            "schema": {"anyof": [TEXT, {"type": "dict", "schema": {"in": {"type": "size"}}}]},
        },
        "open": {"type": "dict", "keysrules": {"type": "path"}, "valuesrules": {"type": "duration"}},
        "pair": {"type": "list", "items": [{"type": "path"}, {"type": "token"}]},
    },
}


def test_the_normal_form_reaches_everywhere() -> None:
    written = {"list": ["1Ki", {"in": "1Ki"}], "open": {"/a/": "1m"}, "pair": ["/a/", 7]}
    normal, findings = normal_form(DEEP, written)
    assert normal == {"list": ["1Ki", {"in": 1024}], "open": {"/a": 60}, "pair": ["/a", "7"]}
    assert not findings
    assert written["open"] == {"/a/": "1m"}


def test_two_keys_of_one_normal_form() -> None:
    _, findings = normal_form(DEEP, {"open": {"/a": 1, "/a/": 1}}, ("x",))
    assert findings == [Finding(("x", "open", "/a/"), "means the same key as another: /a", on_key=True)]


def test_rules_by_path() -> None:
    assert at(DEEP, ("list", 3, "in")) == [{"type": "size"}]
    assert at(DEEP, ("open", "/x")) == [{"type": "duration"}]
    assert at(DEEP, ("pair", 1)) == [{"type": "token"}]
    assert at(DEEP, ("pair", 2)) == []
    assert at(DEEP, ("nowhere", "else")) == []


def test_what_is_around_a_secret_is_not() -> None:
    rule = {
        "type": "dict",
        "schema": {"key": {"type": "dict", "schema": {"in": TEXT}, "meta": {"secret": True}}},
    }
    assert not is_secret(rule, ())
    assert is_secret(rule, ("key",))
    assert is_secret(rule, ("key", "in"))
    assert is_secret(rule, ("key", "in", "deeper"))
