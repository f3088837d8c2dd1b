"""`reconciler watch`: changes as they happen."""

import json
import signal
import subprocess
import sys

import pytest

from tests.host.served import Served


@pytest.mark.parametrize("form", ["table", "json", "yaml"])
def test_changes_come_one_after_the_other(form: str, guest: Served) -> None:
    words = [sys.executable, "-m", "reconciler.host", "watch", "-c", guest.channel, "-o", form]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        guest.do(lambda: guest.guest.change(lambda: guest.guest.reasons.update(hostname="Drifted")))
        if form == "table":
            assert first.split()[1:] == ["hostname", "True", "InSync"]
            assert process.stdout.readline().split()[1:] == ["Converged", "generation", "3"]
            assert process.stdout.readline().split()[1:] == ["hostname", "False", "Drifted"]
        elif form == "json":
            assert json.loads(first)["phase"] == "Converged"
            assert json.loads(process.stdout.readline())["phase"] == "Degraded"
        else:
            while "phase: Degraded" not in process.stdout.readline():
                assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
