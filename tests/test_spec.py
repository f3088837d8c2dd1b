"""One digest for one meaning."""

from reconciler.spec import canonical, digest


def test_the_order_of_writing_does_not_count() -> None:
    assert digest({"a": {"x": 1, "y": 2}, "b": {}}) == digest({"b": {}, "a": {"y": 2, "x": 1}})


def test_another_value_is_another_digest() -> None:
    assert digest({"a": {"x": 1}}) != digest({"a": {"x": "1"}})


def test_the_form_is_utf8_without_spaces() -> None:
    assert canonical({"a": {"name": "zoë"}}) == '{"a":{"name":"zoë"}}'.encode()
    assert digest({}) == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
