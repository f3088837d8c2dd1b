"""Which fields are secrets, and a document that shows none."""

from reconciler.documents.secrets import secret_files, without_secrets
from reconciler.resource import Json
from reconciler.secret import secret_field
from tests.documents.kinds import declare

PEOPLE = declare(
    "people",
    {
        "users": {
            "type": "dict",
            "valuesrules": {
                "type": "dict",
                "schema": {
                    "shell": {"type": "string"},
                    "password": secret_field("What is typed at the login."),
                    "hash": {"type": "string", "meta": {"secret": True}},
                    "keys": {"type": "list", "schema": {"type": "string", "meta": {"secret": True}}},
                },
            },
        },
        "credential": secret_field("The one."),
    },
)
KINDS = {"people": PEOPLE}
NORMAL: dict[str, Json] = {
    "people": {
        "users": {
            "a.b": {"password": {"fromFile": "secrets/ab"}, "shell": "/bin/sh"},
            "c": {"hash": "$y$j9T$salt$word", "keys": ["one", "two"]},
        },
        "credential": {"fromFile": "/run/credential"},
    },
    "unknown": {"credential": {"fromFile": "x"}},
}


def test_each_file_by_the_path_of_its_field() -> None:
    assert secret_files(NORMAL, KINDS) == {
        ("people", "users", "a.b", "password"): "secrets/ab",
        ("people", "credential"): "/run/credential",
    }


def test_what_stands_in_the_document_is_not_shown_and_where_others_lie_is() -> None:
    shown = without_secrets(NORMAL, KINDS)
    assert shown["people"]["users"] == {
        "a.b": {"password": {"fromFile": "secrets/ab"}, "shell": "/bin/sh"},
        "c": {"hash": "(secret)", "keys": ["(secret)", "(secret)"]},
    }
    assert NORMAL["people"]["users"]["c"]["hash"].startswith("$y$")
