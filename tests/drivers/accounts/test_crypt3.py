"""Hashes of this machine's own crypt(3)."""

import pytest

from reconciler.drivers.accounts import crypt3

SHA512 = "$6$pepper$O/qu083qtdA4fUr9wzdxvU8MtVoELRhaG7q9rbuevDkiw4hWLZl3OPRvfpKjvy.YuNH2j5hodChsghNGNZHhS0"


def test_a_hash_and_its_password() -> None:
    assert crypt3.is_of(SHA512, "welcome")
    assert not crypt3.is_of(SHA512, "Welcome")


@pytest.mark.parametrize(
    "hash",
    [
        pytest.param("", id="none"),
        pytest.param("!", id="locked"),
        pytest.param("*0", id="what crypt says of a fault"),
        pytest.param(f"!{SHA512}", id="locked with a hash behind"),
        pytest.param("x", id="torn"),
    ],
)
def test_what_is_no_hash_is_of_no_password(hash: str) -> None:
    assert not crypt3.is_of(hash, "")
    assert not crypt3.is_of(hash, hash)


@pytest.mark.parametrize(
    ("hash", "known"),
    [
        pytest.param(SHA512, True, id="SHA-512"),
        pytest.param(
            "$y$j9T$hlVAmZ8YuuwHAkS6MD.BL/$T3BNR1m4xOsW8Bday5M2ZOJH9/nDGC7NgiG97GIA5h3", True, id="yescrypt"
        ),
        pytest.param(
            "$y$jCT$kIyD7a5sbnXWM.tIbgdWi.$O/KzY8fPetCX/audTAi9rsCSxKJ/Hv41cSwdzRLPWT/",
            True,
            id="with 128 MiB",
        ),
        pytest.param("$9$pepper$" + "a" * 86, False, id="of another system"),
        pytest.param("$6$pepper$short", False, id="torn"),
        pytest.param(
            "$y$jFT$I2svSJ4XFzwg25D.jJURj.$3tkAem71cKqZZ2IEGqbug/q7XSCToinqdicwfjn.tS7",
            False,
            id="with 1 GiB",
        ),
        pytest.param("$y$j9T$pepper$" + "a" * 43, False, id="yescrypt with a salt of another length"),
        pytest.param("$2b$99$" + "a" * 53, False, id="bcrypt with a cost that there is not"),
    ],
)
def test_what_this_crypt_knows(hash: str, known: bool) -> None:
    assert crypt3.knows(hash) is known


def test_a_hash_that_takes_for_ever_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crypt3, "_DEADLINE_S", 0.2)
    assert not crypt3.knows("$2b$19$" + "a" * 53)
