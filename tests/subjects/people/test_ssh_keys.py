"""Public keys told from other text, and our lines of a file from everybody's."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.subjects.people.ssh_keys import (
    MARK,
    content,
    fault_of,
    identity,
    mentioned,
    others,
    ours,
    with_ours,
)

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMf/EcOUXtsB+DgkPqOIVAUCk9fwhidryz33W2VdYqPk"
ECDSA = (
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBIsEbLPj5NHtUuNbU5sRYDOAbyv"
    "d4AKyN1L/1LgSyl1wCXVWL6sZo1c6TBaEGVFMdBpqkYZqM55aLaHpo5u46/g="
)
TOKEN = "sk-ssh-ed25519@openssh.com"
OTHER = f"ssh-ed25519 {ED25519.split()[1][:-3]}AAA"


def blob(*parts: bytes) -> str:
    return b64encode(b"".join(len(part).to_bytes(4) + part for part in parts)).decode()


def rsa(bits: int) -> str:
    number = (1 << (bits - 1) | 1).to_bytes(bits // 8 + 1)
    return f"ssh-rsa {blob(b'ssh-rsa', bytes([1, 0, 1]), number)}"


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(ED25519, id="ed25519"),
        pytest.param(f"{ED25519} alice at home", id="comment of several words"),
        pytest.param(ECDSA, id="ecdsa"),
        pytest.param(rsa(2048), id="rsa of 2048 bits"),
        pytest.param(
            f"sk-ssh-ed25519@openssh.com {blob(b'sk-ssh-ed25519@openssh.com', bytes(32), b'ssh:')}",
            id="token",
        ),
    ],
)
def test_a_key(key: str) -> None:
    assert fault_of(key) == ""


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        pytest.param(f'command="/bin/sh" {ED25519}', "no options", id="options"),
        pytest.param(f"ssh-dss {blob(b'ssh-dss', b'1')}", "type of a key", id="dsa"),
        pytest.param("ssh-ed25519", "of the type", id="no content"),
        pytest.param(ED25519[:-8], "whole key", id="torn"),
        pytest.param(f"ssh-ed25519 {ED25519.split()[1]}AAAA", "whole key", id="more than a key"),
        pytest.param("ssh-ed25519 !!!!", "whole key", id="not base64"),
        pytest.param(f"ssh-rsa {ED25519.split()[1]}", "of the type", id="another type within"),
        pytest.param(f"ssh-ed25519 {blob(b'ssh-ed25519', b'short')}", "whole key", id="short"),
        pytest.param(rsa(1024), "at least 2048 bits", id="weak"),
        pytest.param("", "type of a key", id="nothing"),
    ],
)
def test_no_key(key: str, fault: str) -> None:
    assert fault in fault_of(key)


FILE = f"# mine\n{OTHER} mine\n\n{ED25519} old {MARK}\nno-pty {ECDSA}\n# {ECDSA} {MARK}\n"


def test_ours_are_those_with_the_mark() -> None:
    assert ours(FILE) == (f"{ED25519} old",)


def test_others_are_those_that_let_in_without_options() -> None:
    assert others(FILE) == {identity(OTHER)}


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(f"no-pty {ECDSA}", id="an-option"),
        pytest.param(f'restrict,command="a b" {ECDSA} hers', id="an-option-with-a-blank"),
        pytest.param(ECDSA.replace(" ", "\t"), id="a-tab"),
        pytest.param(f"  {ECDSA}\r", id="other-blanks-around"),
    ],
)
def test_whatever_lets_in_with_a_key_mentions_it(line: str) -> None:
    assert mentioned(f"# {OTHER}\n{line}\n{ED25519} {MARK}\n") == {content(ECDSA)}


def test_the_rest_of_a_file_stays_as_it_is() -> None:
    text = with_ours(FILE, [ECDSA])
    assert text == FILE.replace(f"{ED25519} old {MARK}\n", "") + f"{ECDSA} {MARK}\n"
    assert with_ours(text, []) == FILE.replace(f"{ED25519} old {MARK}\n", "")


@pytest.mark.parametrize("blank", ["\u3000", "\u2003", "\x0b"])
def test_what_sshd_takes_for_no_blank_is_none(blank: str) -> None:
    ends_so = f"{ED25519} carol{blank}"
    assert ours(with_ours("", [ends_so])) == (ends_so,)  # or it would be written again at every look
    assert others(f"{blank}{OTHER}\nssh-ed25519{blank}AAAA\n") == frozenset()
    assert others(f" \t{OTHER.replace(' ', chr(9))}\r\n") == {identity(OTHER)}


@given(st.text("ab#\n \t") | st.text(), st.lists(st.sampled_from([ED25519, ECDSA, OTHER]), unique=True))
def test_what_is_written_is_read_again_and_once_is_enough(text: str, keys: list[str]) -> None:
    once = with_ours(text, keys)
    assert ours(once) == tuple(keys)
    assert with_ours(once, keys) == once
    assert others(once) == others(text)
