"""A signature is over these very values, under this very key, and whoever may read it cannot make one."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.console import Problem
from jobs.signing import canonical, is_signed, key_file, public_key, signed

VALUES = {"b": [1, {"c": "ä 无线"}], "a": None}


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=4))
def test_one_spelling_whatever_the_order_and_not_over_the_signature_itself(values: dict[str, object]) -> None:
    back = dict(reversed(values.items()))
    assert canonical(values) == canonical({**back, "signature": "x"} if "signature" not in values else back)
    assert json.loads(canonical(values)) == {key: value for key, value in values.items() if key != "signature"}


def test_what_was_signed_is_known_and_anything_else_is_not(home: Path) -> None:
    made = signed("toy", "erasure", VALUES)
    key = public_key("toy", "erasure")
    assert is_signed(key, made) and is_signed(key, json.loads(json.dumps(made)))
    assert not is_signed(key, {**made, "a": False}) and not is_signed(key, {**made, "more": 1})
    assert not is_signed(key, VALUES) and not is_signed(key, {**made, "signature": "no hex"})
    signed("toy", "promotion", VALUES)
    assert not is_signed(public_key("toy", "promotion"), made)  # one key for one purpose


def test_the_private_key_is_its_owners_alone_and_the_public_one_is_enough(home: Path) -> None:
    made = signed("toy", "erasure", VALUES)
    path = key_file("toy", "erasure")
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    with pytest.raises(Problem, match="can be read by others"):
        signed("toy", "erasure", VALUES)
    path.unlink()
    assert is_signed(public_key("toy", "erasure"), made)
    path.with_suffix(".pub").write_text("no key")
    with pytest.raises(Problem, match="cannot be read"):
        public_key("toy", "erasure")
