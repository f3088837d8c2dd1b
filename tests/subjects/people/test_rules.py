"""Accounts as they are written: what is read, and what is refused."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.documents import read
from reconciler.errors import InvalidSpec
from reconciler.resource import Json
from reconciler.subjects.people.rules import NEVER, USERS_MAX, User, date_of, user_of
from tests.subjects.people.test_ssh_keys import ECDSA, ED25519

SHA512 = "$6$salt$" + "a" * 86
SLOW = "$6$rounds=999999999$salt$" + "a" * 86
KEY_OF_OURS = f"{ED25519} managed-by-guest-reconciler"


@pytest.mark.parametrize(
    ("normal", "user"),
    [
        pytest.param({}, User(), id="there"),
        pytest.param(
            {"state": "absent", "removeHome": True}, User(absent=True, remove_home=True), id="not there"
        ),
        pytest.param({"groups": ["b", "a", "b"]}, User(groups=("a", "b")), id="groups in order, once"),
        pytest.param({"groups": []}, User(groups=()), id="no groups is not any groups"),
        pytest.param({"expires": "1970-01-03"}, User(expires=2), id="day"),
        pytest.param({"expires": "never"}, User(expires=NEVER), id="never"),
        pytest.param({"password": {"fromFile": "x"}}, User(password=True), id="secret"),
        pytest.param({"sshKeys": {"present": []}}, User(keys=()), id="none of ours"),
        pytest.param(
            {"sshKeys": {"absent": [f"{ECDSA} old"]}},
            User(keys_absent=(ECDSA,)),
            id="absent with any comment",
        ),
    ],
)
def test_reads(normal: dict[str, Json], user: User) -> None:
    assert user_of("carol", normal) == user


def refusal(text: str) -> str:
    with pytest.raises(InvalidSpec) as refused:
        read(text)
    return str(refused.value)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        pytest.param("uid: 0", "at least 1", id="another root"),
        pytest.param("uid: 65535", "must not be 65535", id="nobody's number"),
        pytest.param("shell: /bin/sh;reboot", "absolute path", id="words of a shell"),
        pytest.param("shell: '/bin/sh -c x'", "absolute path", id="arguments"),
        pytest.param("shell: sh", "absolute path", id="relative"),
        pytest.param("home: /", "absolute path", id="the root folder"),
        pytest.param("home: /home/../root", "absolute path", id="dots"),
        pytest.param("home: '/home/a:0:0'", "absolute path", id="a field more"),
        pytest.param('home: "/home/a\\nroot"', "absolute path", id="a line more"),
        pytest.param('comment: "a\\nb:c"', "without colons", id="line in the comment"),
        pytest.param("comment: 'x:0:0'", "without colons", id="colon in the comment"),
        pytest.param("comment: " + "x" * 257, "at most 256", id="long comment"),
        pytest.param("groups: ['-rf']", "a name of", id="group that is an option"),
        pytest.param("groups: ['a,sudo']", "a name of", id="two groups in one"),
        pytest.param("{groups: [a], moreGroups: [b]}", "cannot stand beside", id="both kinds of groups"),
        pytest.param("passwordHash: '*'", "(got (secret))", id="no hash"),
        pytest.param("passwordHash: '$1$salt$abcdefghijklmnopqrstuv'", "(got (secret))", id="MD5"),
        pytest.param("passwordHash: '$6$salt$short'", "(got (secret))", id="torn hash"),
        pytest.param(f"passwordHash: '{SLOW}'", "(got (secret))", id="for years"),
        pytest.param("password: hunter2", "(got (secret))", id="a password in the document"),
        pytest.param(
            f"{{password: {{fromFile: x}}, passwordHash: '{SHA512}'}}", "beside", id="two passwords"
        ),
        pytest.param("expires: 2030-02-30", "a day that exists", id="no such day"),
        pytest.param("expires: 1970-01-02", "a day that exists", id="the day of locked accounts"),
        pytest.param("expires: 2030-13-01", "a day that exists", id="no such month"),
        pytest.param("removeHome: true", "state: absent", id="remove the home of who stays"),
        pytest.param("{state: absent, groups: [a]}", "does not go with", id="groups of nobody"),
        pytest.param(f"sshKeys: {{present: ['no-pty {ED25519}']}}", "without options", id="options"),
        pytest.param(f'sshKeys: {{present: ["{ED25519}\\nssh-rsa A"]}}', "on one line", id="two in one"),
        pytest.param(f"sshKeys: {{present: ['{ED25519}'], absent: ['{ED25519} x']}}", "twice", id="both"),
        pytest.param(
            f"sshKeys: {{present: ['{ED25519} managed-by-guest-reconciler']}}",
            "as its comment",
            id="our mark",
        ),
        pytest.param(f"sshKeys: {{present: ['{ED25519}'{', x' * 64}]}}", "at most 64", id="too many keys"),
        pytest.param("mustChangePassword: 'a b'", "without spaces", id="token"),
    ],
)
def test_refuses(fields: str, why: str) -> None:
    written = fields if fields.startswith("{") else f"{{{fields}}}"
    said = refusal(f"accounts: {{carol: {written}}}")
    assert "spec.accounts" in said
    assert why in said
    assert "hunter2" not in said
    assert "$6$" not in said


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("''", id="empty"),
        pytest.param("-rf", id="option"),
        pytest.param("'a:0'", id="colon"),
        pytest.param("'a b'", id="space"),
        pytest.param('"a\\n"', id="line"),
        pytest.param("../a", id="folder"),
        pytest.param("a;b", id="shell"),
        pytest.param("Carol", id="upper case"),
        pytest.param("a.b", id="dot"),
        pytest.param("ä", id="not ASCII"),
        pytest.param("a" * 33, id="longer than utmp has room"),
        pytest.param("0", id="a number"),
    ],
)
def test_refuses_names(name: str) -> None:
    assert "must" in refusal(f"accounts: {{users: {{{name}: {{}}}}}}")
    assert "must" in refusal(f"accounts: {{{name}: present}}")


@pytest.mark.parametrize("field", ["state: absent", "locked: true", "uid: 5", "home: /x", "expires: never"])
def test_root_stays_what_it_is(field: str) -> None:
    assert "root" in refusal(f"accounts: {{root: {{{field}}}}}")
    assert read("accounts: {root: {locked: false, comment: Root}}")


def test_no_more_accounts_than_passwords_are_remembered() -> None:
    names = ", ".join(f"u{number}: present" for number in range(USERS_MAX + 1))
    assert f"at most {USERS_MAX}" in refusal(f"accounts: {{{names}}}")


def test_short_and_long_form_are_one() -> None:
    (short,) = read("accounts: {carol: {groups: [adm]}, dave: absent, eve: locked, fay: present}")
    users = "{carol: {groups: [adm]}, dave: {state: absent}, eve: {locked: true}, fay: {}}"
    (long,) = read(f"accounts: {{users: {users}}}")
    assert short.normal == long.normal


@given(st.dates(min_value=date(1970, 1, 3), max_value=date(2999, 12, 31)))
def test_days_and_dates(day: date) -> None:
    user = user_of("carol", {"expires": day.isoformat()})
    assert user.expires is not None
    assert date(1970, 1, 1) + timedelta(user.expires) == day
    assert date_of(user.expires) == day.isoformat()


def test_a_hash_is_not_shown_with_an_account() -> None:
    assert SHA512 not in repr(user_of("carol", {"passwordHash": SHA512}))
