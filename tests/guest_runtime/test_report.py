"""Revisions grow, and the last few statuses are kept to patch from."""

from guest_runtime.report import KEPT_MAX, Report


def test_a_revision_is_of_the_boot_clock_and_grows() -> None:
    report = Report()
    assert report.update({"a": 1}, now_s=5.0)
    assert report.revision == 5000
    assert report.update({"a": 2}, now_s=5.0)
    assert report.revision == 5001
    again = Report()  # the agent is restarted later in the same boot
    again.update({"a": 2}, now_s=6.0)
    assert again.revision > report.revision


def test_the_same_status_is_no_news() -> None:
    report = Report()
    report.update({"a": 1}, now_s=1.0)
    assert not report.update({"a": 1}, now_s=2.0)
    assert report.revision == 1000


def test_old_statuses_are_forgotten() -> None:
    report = Report()
    for number in range(KEPT_MAX + 1):
        report.update({"a": number}, now_s=1.0 + number)
    assert report.at(1000) is None
    assert report.at(2000) == {"a": 1}
    assert report.at("2000") is None
