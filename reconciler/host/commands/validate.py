"""`reconciler validate`: checks documents without a guest."""

import argparse

from reconciler.host.arguments import output_arguments
from reconciler.host.failures import Exit
from reconciler.host.files import load
from reconciler.host.output import encode, escape, say

SUMMARY = "check documents; no guest is needed"
EXAMPLES = """\
  reconciler validate web-01.yaml
  reconciler validate site/ -o json
  generate | reconciler validate -
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", metavar="PATH", nargs="+", help="a document, a folder of them, or -")
    output_arguments(parser, "table", "json", "yaml", "name")


def run(args: argparse.Namespace) -> int:
    documents = load(args.paths)
    if args.output in ("json", "yaml"):
        # Late: with the kinds, cerberus and yaml, which have been loaded by now.
        from reconciler.documents.secrets import without_secrets

        listed = [
            {"name": d.name, "source": d.source, "line": d.line, "spec": without_secrets(d.normal)}
            for d in documents
        ]
        say(encode(listed, args.output))
        return Exit.DONE
    for document in documents:
        if args.output == "name":
            say(f"{escape(document.name or '-')}\n")
        else:
            kinds = ", ".join(document.normal) or "nothing"
            name = document.name or "without a name"
            say(escape(f"{document.source}:{document.line}: valid: {name}: {kinds}") + "\n")
    return Exit.DONE
