"""Names compared and set, decided without a guest."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.documents import read
from reconciler.errors import InvalidSpec
from reconciler.resource import Action, Past
from reconciler.resources.hostname import (
    Desired,
    Hostname,
    Name,
    Names,
    Observed,
    fqdn_of,
    pretty_of,
    static_of,
)

WEB = Observed(static="web", transient="web", pretty="Web")


def put(name: str, value: str) -> Action:
    return Action("set", name, value=value)


@pytest.mark.parametrize(
    ("desired", "observed", "actions"),
    [
        pytest.param(Desired(), WEB, [], id="not managed"),
        pytest.param(Desired(static="web"), WEB, [], id="as desired"),
        pytest.param(Desired(static="db"), WEB, [put("static", "db")], id="one act sets disk and kernel"),
        pytest.param(
            Desired(static="web"),
            replace(WEB, transient="dhcp-17"),
            [put("transient", "web")],
            id="the kernel alone has another name",
        ),
        pytest.param(
            Desired(transient="web"), Observed(transient="x"), [put("transient", "web")], id="transient"
        ),
        pytest.param(Desired(pretty=""), WEB, [put("pretty", "")], id="empty takes the pretty name away"),
        pytest.param(
            Desired(static="db", pretty="Db"),
            WEB,
            [put("static", "db"), put("pretty", "Db")],
            id="both",
        ),
    ],
)
def test_plan(desired: Desired, observed: Observed, actions: list[Action]) -> None:
    assert list(Hostname.plan(desired, Hostname.diff(desired, observed))) == actions


names = st.sampled_from(["", "web", "db", "web.example.org"])
written = st.none() | names.filter(bool)


@given(
    desired=st.builds(Desired, static=written, transient=st.none(), pretty=st.none() | names)
    | st.builds(Desired, static=st.none(), transient=written, pretty=st.none() | names),
    observed=st.builds(Observed, static=names, transient=names.filter(bool), pretty=names),
)
def test_a_whole_plan_leaves_nothing_to_do(desired: Desired, observed: Observed) -> None:
    for action in Hostname.plan(desired, Hostname.diff(desired, observed)):
        assert action.verb in Hostname.verbs  # or a policy could not name it
        observed = Hostname.foresee(observed, action)
    assert Hostname.diff(desired, observed) == ()
    assert Hostname.verdict(desired, observed, ()).ready


@dataclass
class FakeNames:
    """A guest in memory."""

    held: Observed = field(default_factory=Observed)

    @classmethod
    def available(cls) -> bool:
        return True

    def names(self) -> Observed:
        return self.held

    def set(self, name: Name, value: str) -> None:
        match name:
            case "static":
                self.held = replace(self.held, static=value, transient=value)
            case "transient":
                self.held = replace(self.held, transient=value)
            case "pretty":
                self.held = replace(self.held, pretty=value)


def test_acts_through_its_driver() -> None:
    guest = FakeNames(WEB)
    port: Names = guest
    kind, desired = Hostname(port), Desired(static="db", pretty="Db")
    for action in kind.plan(desired, kind.diff(desired, kind.observe(desired, Past()))):
        kind.act(action)
    assert guest.held == Observed(static="db", transient="db", pretty="Db")


def test_says_what_is_wrong_and_what_changed() -> None:
    drifted = Hostname.verdict(
        Desired(static="db"), WEB, Hostname.diff(Desired(static="db"), replace(WEB, static=""))
    )
    assert (drifted.ready, drifted.message) == (
        False,
        "static is not set, not db, transient is web, not db",
    )
    assert [n.message for n in Hostname.notices(WEB, replace(WEB, transient="db"))] == ["db, was web"]
    assert Hostname.notices(WEB, WEB) == ()


def test_shows_only_names_that_there_are() -> None:
    assert Hostname.show(Observed(transient="localhost")) == {"transient": "localhost"}


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        pytest.param("hostname: web-01", {"static": "web-01"}, id="short"),
        pytest.param("hostname: 42.example.org", {"static": "42.example.org"}, id="digits, RFC 1123"),
        pytest.param("hostname: {transient: a}", {"transient": "a"}, id="transient"),
        pytest.param("hostname: {pretty: ''}", {"pretty": ""}, id="no pretty name"),
    ],
)
def test_reads(text: str, normal: dict[str, str]) -> None:
    document = read(text)[0].normal["hostname"]
    assert document == normal
    assert Hostname.parse(document) == Desired(**normal)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("hostname: -web", id="hyphen first"),
        pytest.param("hostname: web-", id="hyphen last"),
        pytest.param("hostname: web_01", id="underscore"),
        pytest.param("hostname: a..b", id="empty part"),
        pytest.param("hostname: " + "a" * 64, id="a part of 64"),
        pytest.param("hostname: " + "a." * 32 + "a", id="65 in all"),
        pytest.param("hostname: {static: a, transient: b}", id="a static name rules out a transient one"),
        pytest.param('hostname: {pretty: "a\\nb"}', id="two lines"),
    ],
)
def test_refuses(text: str) -> None:
    with pytest.raises(InvalidSpec, match=r"spec\.hostname"):
        read(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        pytest.param("web-01\n", "web-01", id="plain"),
        pytest.param("# by hand\n\n  web-01 \nother\n", "web-01", id="comment, blanks, first line wins"),
        pytest.param("", "", id="empty"),
    ],
)
def test_static_name_on_disk(text: str, name: str) -> None:
    assert static_of(text) == name


@pytest.mark.parametrize(
    ("hosts", "fqdn"),
    [
        pytest.param("127.0.1.1 web.example.org web", "web.example.org", id="as Debian writes it"),
        pytest.param("127.0.1.1 web.example.org # web", "web.example.org", id="without the short name"),
        pytest.param("127.0.0.1 localhost\n\n10.0.0.1 web", "", id="no domain anywhere"),
        pytest.param("10.0.0.2 db.example.org db", "", id="another host"),
    ],
)
def test_fqdn_from_the_hosts_file(hosts: str, fqdn: str) -> None:
    assert fqdn_of(hosts, "web") == fqdn
    assert fqdn_of(hosts, "web.local") == "web.local"


@pytest.mark.parametrize(
    ("text", "pretty"),
    [
        pytest.param('PRETTY_HOSTNAME="Anna\'s \\"box\\""\nICON_NAME=x', 'Anna\'s "box"', id="escapes"),
        pytest.param("PRETTY_HOSTNAME='a\\b'", "a\\b", id="single quotes keep all"),
        pytest.param("PRETTY_HOSTNAME=plain", "plain", id="bare"),
        pytest.param("ICON_NAME=x", "", id="none"),
    ],
)
def test_pretty_name_on_disk(text: str, pretty: str) -> None:
    assert pretty_of(text) == pretty
