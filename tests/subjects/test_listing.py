"""Lists that are cut, and say so."""

import pytest

from reconciler.subjects.listing import first_few


@pytest.mark.parametrize(
    ("words", "between", "text"),
    [
        pytest.param("", ", ", "", id="nothing"),
        pytest.param("a", ", ", "a", id="one"),
        pytest.param("ab", ", ", "a, b", id="as many as fit"),
        pytest.param("abc", ", ", "a, b, and 1 more", id="one too many"),
        pytest.param("abcde", "; ", "a; b; and 3 more", id="sentences"),
    ],
)
def test_first_few(words: str, between: str, text: str) -> None:
    assert first_few(iter(words), 2, between) == text
