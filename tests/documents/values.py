"""Hypothesis strategies for what rules let pass, and for what is nearly that."""

from typing import Any

from hypothesis import strategies as st

from reconciler.documents.kinds import Kinds, fields
from reconciler.documents.rules import branches, types_of
from reconciler.resource import Json, Rules

Values = st.SearchStrategy[Any]

SAMPLES: dict[str, list[Json]] = {
    "duration": [
        "30s",
        "10m",
        "1h30m",
        "250ms",
        "1.5h",
        "2d",
        1,
        600,
        0.25,
        1.0,
        "0s",
        "366d",
        "30x",
        "",
        -1,
        1e9,
    ],
    "timestamp": [
        "2026-01-31T18:00:00Z",
        "2026-01-31t18:00:00.25+01:00",
        "2026-02-30T18:00:00Z",
        "2026-01-31",
    ],
    "token": ["a", "sha256:00ff", 7, 0, -1, 2.0, 1.5, "", "a b", "x" * 128, "x" * 129, "ä"],
    "size": ["10Mi", "1G", "1.5KiB", "12B", 0, 4096, 8.0, "1.0001k", "1K", -1, 2**53, 1.5],
    "path": ["/", "/a", "/a//b/", "/a/./b", "/..a", "/a/..", "/../a", "a", "", "/a\nb", "/" + "x" * 5000],
}
JUNK: list[Json] = [
    None,
    True,
    False,
    0,
    1.5,
    "",
    "off",
    "yes",
    "x\n",
    [],
    {},
    ["off"],
    {"state": "off"},
    [[]],
    "1",
]


def nearly(rule: Rules) -> Values:
    """Values for a rule: most fit, some nearly."""
    fitting = st.one_of([_fitting(branch) for branch in branches(rule)])
    return st.one_of(fitting, fitting, fitting, fitting, fitting, st.sampled_from(JUNK))


def _fitting(rule: Rules) -> Values:
    return st.one_of([_of_type(rule, name) for name in types_of(rule)])


def _of_type(rule: Rules, name: str) -> Values:
    if name in SAMPLES:
        return st.sampled_from(SAMPLES[name])
    if name == "list":
        return _lists(rule)
    if name == "dict":
        return _mappings(rule)
    if "allowed" in rule:
        return st.sampled_from(rule["allowed"])
    if name == "string":
        return st.from_regex(rule["regex"], fullmatch=True) if "regex" in rule else st.text(max_size=30)
    if name == "boolean":
        return st.booleans()
    numbers: Values = st.integers(-2, 700) | st.sampled_from([10**6, 2.0])
    return numbers if name == "integer" else numbers | st.floats(-2, 2)


def _lists(rule: Rules) -> Values:
    if "items" in rule:
        return st.tuples(*(nearly(item) for item in rule["items"])).map(list)
    entry = nearly(rule["schema"]) if "schema" in rule else st.sampled_from([*rule.get("allowed", ()), "x"])
    return st.lists(entry, max_size=4)


def _mappings(rule: Rules) -> Values:
    if "schema" in rule:
        return mapping_of(rule["schema"])
    keys = nearly(rule["keysrules"]) if "keysrules" in rule else st.sampled_from(["a", "b.c", "/x"])
    values = nearly(rule["valuesrules"]) if "valuesrules" in rule else st.sampled_from(["x"])
    return st.dictionaries(keys.filter(lambda key: isinstance(key, str)), values, max_size=3)


def mapping_of(inner: Rules) -> Values:
    required = {name: nearly(rule) for name, rule in inner.items() if rule.get("required")}
    optional = {name: nearly(rule) for name, rule in inner.items() if not rule.get("required")}
    whole = st.fixed_dictionaries(required, optional=optional)
    spoilt = whole.map(lambda value: {**value, "stat": 1})
    return st.one_of(whole, whole, whole, spoilt)


def specs(kinds: Kinds) -> Values:
    """Objects of kinds, short and long."""

    def one(name: str) -> Values:
        kind = kinds[name]
        long = mapping_of(fields(kind))
        return long if kind.short is None else long | nearly(kind.short)

    return st.lists(st.sampled_from(sorted(kinds)), unique=True, max_size=2).flatmap(
        lambda names: st.fixed_dictionaries({name: one(name) for name in names})
    )
