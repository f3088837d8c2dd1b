"""`reconciler completion`: a script for each shell; what it does is tested beside its maker."""

import pytest

from tests.host.conftest import Reconciler


@pytest.mark.parametrize(
    ("shell", "start"), [("bash", "# bash"), ("zsh", "#compdef reconciler"), ("fish", "# fish")]
)
def test_a_script(shell: str, start: str, reconciler: Reconciler) -> None:
    said = reconciler("completion", shell)
    assert said.code == 0
    assert said.out.startswith(start)
