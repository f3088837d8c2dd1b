"""Names, channels and times as they stand on the command line."""

import argparse

import pytest

from reconciler.host.arguments import channel_of, check_name, duration, meant_guest
from reconciler.host.failures import Misused, WrongGuest


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("2m", 120), ("1h30m", 5400), ("250ms", 0.25), ("0.2", 0.2), ("7", 7)]
)
def test_a_time(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1s", "1e9", "99999999h", "inf", "nan"])
def test_no_time(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        duration(text)


@pytest.mark.parametrize(
    ("meant", "found", "good"),
    [
        ("", "web-01", True),
        ("web-01", "web-01", True),
        ("WEB-01", "web-01", True),
        ("web-01", "web-01.example.org", True),
        ("web-01.example.org", "web-01", True),
        ("web-01.example.org", "web-01.example.com", False),
        ("web", "web-01", False),
        ("web-01", "", False),
    ],
)
def test_the_name_of_a_guest(meant: str, found: str, good: bool) -> None:
    if good:
        check_name(meant, found)
    else:
        with pytest.raises(WrongGuest, match="cannot go on"):
            check_name(meant, found)


def test_two_names() -> None:
    assert meant_guest("a", "") == meant_guest("", "a") == meant_guest("a", "a") == "a"
    with pytest.raises(WrongGuest):
        meant_guest("a", "b")


def test_a_name_in_a_channel() -> None:
    assert channel_of("unix:/run/{guest}/s", "a") == "unix:/run/a/s"
    assert channel_of("unix:/run/s", "a") == "unix:/run/s"
    for channel, guest in (("", "a"), ("unix:{guest}", ""), ("unix:{guest}", "a/b"), ("unix:{guest}", "..")):
        with pytest.raises(Misused):
            channel_of(channel, guest)
