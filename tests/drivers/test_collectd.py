"""A real collectd, started here, and a false one for what the real one does not do."""

import select
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.drivers import collectd
from reconciler.drivers.collectd import Collectd, fields_of, quoted, wanted_of
from reconciler.errors import DriverError
from reconciler.facilities.inotify import CLOSE_WRITE, Folders
from reconciler.resources.report import Source

SOURCE: Source = Collectd()  # holds the driver to its port, for the type checker

CONFIG = """
Hostname "guest"
FQDNLookup false
BaseDir "{folder}"
PIDFile "{folder}/pid"
TypesDB "/usr/share/collectd/types.db"
Interval 0.2
LoadPlugin unixsock
LoadPlugin load
LoadPlugin memory
LoadPlugin csv
<Plugin unixsock>
  SocketFile "{folder}/socket"
  SocketPerms "0600"
</Plugin>
<Plugin csv>
  DataDir "{folder}/csv"
</Plugin>
"""


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a collectd that has values. It writes a value to a file once it has it."""
    folder = tmp_path_factory.mktemp("collectd")
    (folder / "conf").write_text(CONFIG.format(folder=folder))
    with (
        closing(Folders(str(folder / "csv" / "guest" / "load"), mask=CLOSE_WRITE)) as load,
        closing(Folders(str(folder / "csv" / "guest" / "memory"), mask=CLOSE_WRITE)) as memory,
        subprocess.Popen(
            ["collectd", "-f", "-C", str(folder / "conf")], stdout=subprocess.DEVNULL
        ) as process,
    ):
        try:
            # One value of a plugin comes after the other.
            for watch, value in ((load, "load/load-*"), (memory, "memory/memory-free-*")):
                while not any((folder / "csv" / "guest").glob(value)):
                    assert select.select([watch], [], [], 30)[0], "collectd did not start"
                    watch.drain()
            yield folder
        finally:
            process.terminate()


@pytest.fixture
def nothing(tmp_path: Path) -> str:
    return str(tmp_path / "missing")


def test_a_real_collectd(real: Path, nothing: str) -> None:
    found = Collectd(str(real / "socket"), nothing).read("metrics")["collectd"]
    assert "left" not in found
    load = found["values"]["guest/load/load"]
    assert load.keys() == {"shortterm", "midterm", "longterm"}
    assert all(isinstance(value, int | float) and value >= 0 for value in load.values())
    assert found["values"]["guest/memory/memory-free"]["value"] > 2**20


def test_a_real_collectd_and_an_instance_with_a_space(real: Path, nothing: str) -> None:
    identifier = "guest/my jobs/gauge-a b"
    with closing(Folders(str(real / "csv" / "guest" / "my jobs"), mask=CLOSE_WRITE)) as watch:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(real / "socket"))
            connection.sendall(f"PUTVAL {quoted(identifier)} interval=60 N:42.5\n".encode())
            assert connection.recv(100).startswith(b"0 Success")
        while not any((real / "csv" / "guest" / "my jobs").glob("*")):
            assert select.select([watch], [], [], 30)[0], "collectd did not take it"
            watch.drain()
    values = Collectd(str(real / "socket"), nothing).read("metrics")["collectd"]["values"]
    assert values[identifier] == {"value": 42.5}


def test_patterns_choose(real: Path, tmp_path: Path) -> None:
    (tmp_path / "allow").write_text("# loads only\n\n  guest/load/*\n")
    found = Collectd(str(real / "socket"), str(tmp_path / "allow")).read("metrics")["collectd"]
    assert found["values"].keys() == {"guest/load/load"}


def test_what_is_over_the_limit_is_counted(real: Path, nothing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = Collectd(str(real / "socket"), nothing).read("metrics")["collectd"]["values"]
    monkeypatch.setattr(collectd, "_VALUES_MAX", 2)
    found = Collectd(str(real / "socket"), nothing).read("metrics")["collectd"]
    assert list(found["values"]) == sorted(everything)[:2]
    assert found["left"] >= len(everything) - 2


def test_without_a_socket_there_is_nothing(tmp_path: Path, nothing: str) -> None:
    (tmp_path / "file").touch()
    assert Collectd.available()
    assert Collectd(nothing, nothing).read("metrics") == {}
    assert Collectd(str(tmp_path / "file"), nothing).read("metrics") == {}


def test_a_socket_without_collectd_is_said(tmp_path: Path, nothing: str) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as sock:
        sock.bind(str(tmp_path / "socket"))
    with pytest.raises(DriverError, match=r"cannot ask collectd at .*: Connection refused"):
        Collectd(str(tmp_path / "socket"), nothing).read("metrics")


@contextmanager
def false_collectd(path: Path, replies: Mapping[str, bytes]) -> Iterator[list[str]]:
    """Answers each command from `replies`, by its first word; hangs up at one that is not there."""
    heard: list[str] = []

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with suppress(ConnectionError), connection, connection.makefile("rb") as lines:
            for line in lines:
                heard.append(line.decode().rstrip("\n"))
                reply = replies.get(heard[-1].split()[0])
                if reply is None:
                    return
                connection.sendall(reply)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield heard
        finally:
            thread.join(30)


LIST = b"2 Values found\n1.5 h/a/b\n1.5 h/c/d\n"


def test_only_two_commands_are_ever_sent(tmp_path: Path, nothing: str) -> None:
    with false_collectd(tmp_path / "s", {"LISTVAL": LIST, "GETVAL": b"1 Value found\nvalue=nan\n"}) as heard:
        found = Collectd(str(tmp_path / "s"), nothing).read("metrics")
    assert found == {"collectd": {"values": {"h/a/b": {"value": "NaN"}, "h/c/d": {"value": "NaN"}}}}
    assert heard == ["LISTVAL", 'GETVAL "h/a/b"', 'GETVAL "h/c/d"']


def test_a_value_that_went_since_it_was_listed_is_left_out(tmp_path: Path, nothing: str) -> None:
    with false_collectd(tmp_path / "s", {"LISTVAL": LIST, "GETVAL": b"-1 No such value\n"}):
        assert Collectd(str(tmp_path / "s"), nothing).read("metrics") == {"collectd": {"values": {}}}


@pytest.mark.parametrize(
    ("replies", "message"),
    [
        pytest.param({}, "it closed the connection", id="hangs up"),
        pytest.param({"LISTVAL": LIST}, "it closed the connection", id="hangs up later"),
        pytest.param({"LISTVAL": b"what?\n"}, "a reply without a status", id="no status"),
        pytest.param({"LISTVAL": b"-1 no\n"}, "it refused to list", id="refuses"),
        pytest.param({"LISTVAL": b"99999 Values found\n"}, "more than 10000 lines", id="many lines"),
        pytest.param({"LISTVAL": b"x" * 5000}, "a line over 1024 bytes", id="long line"),
        pytest.param({"LISTVAL": LIST, "GETVAL": b"65 Values\n"}, "more than 64 lines", id="many fields"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, nothing: str, replies: dict[str, bytes], message: str) -> None:
    with false_collectd(tmp_path / "s", replies), pytest.raises(DriverError, match=message):
        Collectd(str(tmp_path / "s"), nothing).read("metrics")


@pytest.mark.parametrize(
    "replies", [{"LISTVAL": b""}, {"LISTVAL": b"2 Values found\n1.5 h/a"}], ids=["all", "half"]
)
def test_silence_ends_the_read(
    tmp_path: Path, nothing: str, replies: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collectd, "_DEADLINE_S", 0.1)
    with (
        false_collectd(tmp_path / "s", replies),
        pytest.raises(DriverError, match="it does not answer in time"),
    ):
        Collectd(str(tmp_path / "s"), nothing).read("metrics")


def test_a_collectd_that_does_not_accept_ends_the_read(
    tmp_path: Path, nothing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collectd, "_DEADLINE_S", 0.1)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(tmp_path / "s"))
        listener.listen(0)
        first.connect(str(tmp_path / "s"))
        with pytest.raises(DriverError, match="cannot ask collectd"):
            Collectd(str(tmp_path / "s"), nothing).read("metrics")


def test_a_list_of_patterns_that_cannot_be_read_allows_nothing(tmp_path: Path, real: Path) -> None:
    (tmp_path / "allow").mkdir()
    with pytest.raises(DriverError, match=r"cannot read .*allow: .*Is a directory"):
        Collectd(str(real / "socket"), str(tmp_path / "allow")).read("metrics")
    (tmp_path / "long").write_text("guest/*/only-this\n" * 1000)
    with pytest.raises(DriverError, match="it has over 16384 characters"):
        Collectd(str(real / "socket"), str(tmp_path / "long")).read("metrics")


def test_an_empty_list_of_patterns_allows_nothing() -> None:
    assert list(wanted_of(["1.5 h/a/b"], ())) == []


@given(st.lists(st.text(max_size=30), max_size=5))
def test_any_lines_are_read_or_left_out(lines: list[str]) -> None:
    assert all(isinstance(value, int | float | str) for value in fields_of(lines).values())
    assert set(wanted_of(lines, ["*"])) <= {line.partition(" ")[2] for line in lines}


@given(st.text(max_size=20))
def test_a_quoted_identifier_is_one_word(identifier: str) -> None:
    assert quoted(identifier)[1:-1].replace('\\"', "").replace("\\\\", "").count('"') == 0
