"""What a document may say of files, and what is refused before any of it is done."""

from collections.abc import Mapping
from typing import Any

import pytest

from reconciler.documents import read
from reconciler.errors import InvalidSpec
from reconciler.resources.files import Files
from reconciler.subjects.file_states import CONTENT_CHARS_MAX, digest_of
from tests.resources.test_files import KEY, MOTD, secret


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        pytest.param("{/etc/motd: hi}", {MOTD: {"content": "hi"}}, id="short"),
        pytest.param("{/etc//motd/: absent}", {MOTD: {"content": "absent"}}, id="text is content"),
        pytest.param("{/etc/motd: {state: absent}}", {MOTD: {"state": "absent"}}, id="short with fields"),
        pytest.param("{paths: {/etc/motd: {mode: 0644}}}", {MOTD: {"mode": "0644"}}, id="long"),
        pytest.param(
            "{/etc/key: {secret: {fromFile: k}}}", {KEY: {"secret": {"fromFile": "k"}}}, id="secret"
        ),
        pytest.param(
            '{/etc/a: {contentBase64: "/wA=\\n"}}', {"/etc/a": {"contentBase64": "/wA=\n"}}, id="bytes"
        ),
    ],
)
def test_reads(text: str, normal: Mapping[str, Any]) -> None:
    document = read(f"files: {text}")[0].normal["files"]
    assert document == {"paths": normal}
    (file,) = Files.parse(document).files
    assert file.path == next(iter(normal))


def test_bytes_and_secrets_become_what_they_are() -> None:
    raw, key = Files.parse(
        {"paths": {"/etc/a": {"contentBase64": "/wA=\n"}, KEY: {"secret": {"fromFile": "k"}}}}
    ).files
    assert (raw.content, raw.digest) == (b"\xff\0", digest_of([b"\xff\0"]))
    assert key == secret()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("{etc/motd: x}", "an absolute path", id="relative"),
        pytest.param("{/etc/../motd: x}", "without ..", id="dots"),
        pytest.param('{"/etc/a\\nb": x}', "do not print", id="line feed"),
        pytest.param("{/: x}", "out of reach", id="root"),
        pytest.param("{/proc/sysrq-trigger: b}", "out of reach", id="proc"),
        pytest.param("{/etc/guest-reconciler/policy.yaml: x}", "out of reach", id="the policy"),
        pytest.param("{/etc/.guest-reconciler~: x}", "out of reach", id="ours"),
        pytest.param("{/a: x, /a/b: y}", "/a/b cannot lie in /a", id="in a file"),
        pytest.param("{/a: {content: x, backup: true}, /a~: y}", "the backup of /a", id="backup"),
        pytest.param("{/a: {state: absent, mode: 0644}}", "does not go with state: absent", id="absent"),
        pytest.param("{/a: {content: x, contentBase64: eA==}}", "cannot stand beside", id="two contents"),
        pytest.param("{/a: {contentBase64: eA=}}", "must be base64", id="base64"),
        pytest.param("{/a: {mode: 4755}}", "must be", id="a number"),
        pytest.param('{/a: {mode: "4755"}}', "four octal digits", id="setuid"),
        pytest.param("{/a: {owner: a;b}}", "the name or number", id="owner"),
        pytest.param("{/a: {owner: -rf}}", "the name or number", id="an option"),
        pytest.param(
            "{/a: {owner: 4294967295}}",
            r"must be at most 4294967294 \(got 4294967295\)",
            id="the number for nobody",
        ),
        pytest.param(f"{{/a: {'x' * (CONTENT_CHARS_MAX + 1)}}}", "at most", id="huge"),
        pytest.param(f"{{{', '.join(f'/{n}: x' for n in range(257))}}}", "at most 256 files", id="many"),
        pytest.param("{/a: {secret: k}}", "mapping|fromFile", id="a secret in the document"),
    ],
)
def test_refuses(text: str, words: str) -> None:
    with pytest.raises(InvalidSpec, match=words) as caught:
        read(f"files: {text}")
    assert "spec.files" in str(caught.value)
