"""Pseudonyms: a known answer, a private key, and no key that is silently replaced."""

import hashlib
import hmac
import stat
from pathlib import Path

import pytest

from jobs.console import Problem
from jobs.pseudonyms import Key, key_file, linked, load_key, pseudonym


def test_a_known_answer() -> None:
    """RFC 4231's HMAC-SHA-256 test case 2 (key 'Jefe'), by our prefix and cut."""
    assert pseudonym(Key(b"Jefe", 3), "what do ya want for nothing?") == "v3_5bdcc146bf60754e6a042426089575c7"


def test_domains_part_equal_ids() -> None:
    key = Key(b"k" * 32)
    expected = hmac.new(b"k" * 32, b"session:42", hashlib.sha256).hexdigest()[:32]
    assert linked(key, "session", "42") == f"session1_{expected}"
    assert len({pseudonym(key, "42")[-32:], linked(key, "session", "42")[-32:], linked(key, "basket", "42")[-32:]}) == 3


def test_the_key_is_made_once_private_and_hidden(home: Path) -> None:
    first = load_key("toy")
    path = key_file("toy")
    assert path == home / "toy" / "keys" / "pseudonym.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert bytes.fromhex(path.read_text().strip()) == first.secret
    assert load_key("toy") == first
    assert load_key("other") != first
    assert first.secret.hex() not in repr(first)
    assert str(first.secret) not in repr(first)
    assert [p.name for p in path.parent.iterdir()] == ["pseudonym.key"]


@pytest.mark.parametrize("text", ["", "abc", "00" * 31, "zz" * 32])
def test_a_damaged_key_is_not_replaced(home: Path, text: str) -> None:
    path = key_file("toy")
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(Problem, match="damaged"):
        load_key("toy")
    assert path.read_text() == text
