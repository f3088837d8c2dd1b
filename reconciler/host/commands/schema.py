"""`reconciler schema`: the JSON Schema of documents, for editors."""

import argparse

from reconciler.host.failures import Exit
from reconciler.host.output import say

SUMMARY = "print the JSON Schema of documents"
EXAMPLES = "  reconciler schema > guest-reconciler.schema.json\n"


def arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(args: argparse.Namespace) -> int:
    # Late: the kinds and cerberus take 100 ms, and `--help` does not need them.
    from reconciler.documents import json_schema_text

    say(json_schema_text())
    return Exit.DONE
