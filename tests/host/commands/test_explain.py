"""`reconciler explain`: a field in words."""

import pytest

from tests.host.conftest import Reconciler


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        pytest.param([], ["spec", "FIELD", "hostname", "power"], id="all"),
        pytest.param(["hostname"], ["spec.hostname", "short form:", "pretty"], id="kind"),
        pytest.param(
            ["spec.filesystems.lease"], ["spec.filesystems.lease", "a duration", "default:"], id="field"
        ),
        pytest.param(["metadata.name"], ["metadata.name", "required:   yes"], id="envelope"),
    ],
)
def test_in_words(words: list[str], parts: list[str], reconciler: Reconciler) -> None:
    said = reconciler("explain", *words)
    assert said.code == 0
    for part in parts:
        assert part in said.out


def test_a_slip_of_the_finger(reconciler: Reconciler) -> None:
    said = reconciler("explain", "hostnam")
    assert said.code == 2
    assert 'did you mean "hostname"' in said.err
