"""`reconciler schema`: the schema as it is published."""

import json

from tests.host.conftest import Reconciler


def test_it_is_json(reconciler: Reconciler) -> None:
    said = reconciler("schema")
    assert said.code == 0
    assert "$schema" in json.loads(said.out)
