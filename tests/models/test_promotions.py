"""Who serves: the highest valid signed record. Each way to cheat is tried."""

import json
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from jobs.console import Problem, Refused
from models import promotions
from models.bundle import Bundle, building, keep, open_bundle, seal

SHOP, NAME = "shop", "recommend"


def bundle(version: int, word: str = "") -> Bundle:
    with building(SHOP, NAME) as folder:
        (folder / "words.json").write_text(json.dumps(word or f"version {version}"))
        seal(folder, shop=SHOP, name=NAME, kind="test", settings={"a": 1})
    return keep(folder, version)


@pytest.fixture
def record_file(home: Path) -> Callable[[int], Path]:
    return lambda sequence: home / SHOP / "promotions" / NAME / f"{sequence:06d}.json"


def rewrite(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def serving() -> int:
    found = promotions.champion(SHOP, NAME)
    assert found is not None
    return found.version


def test_nobody_serves_before_the_first_record(home: Path) -> None:
    assert promotions.champion(SHOP, NAME) is None


def test_the_last_promotion_serves_and_a_refusal_changes_nothing(home: Path) -> None:
    one, two, three = bundle(1), bundle(2), bundle(3)
    promotions.serve(SHOP, one, "baseline")
    promotions.serve(SHOP, two, "promote")
    promotions.append(SHOP, three, "refuse", verdict={"accepted": False, "why": "worse"})
    assert serving() == 2
    assert [r.sequence for r in promotions.records(SHOP, NAME)[0]] == [1, 2, 3]


def test_rollback_goes_back_one_champion_at_a_time_and_the_sequence_goes_up(home: Path) -> None:
    for version in (1, 2, 3):
        promotions.serve(SHOP, bundle(version), "baseline" if version == 1 else "promote")
    made, ended = promotions.roll_back(SHOP, NAME)
    assert (made.version, made.sequence, ended.version, serving()) == (2, 4, 3, 2)
    promotions.roll_back(SHOP, NAME)
    assert serving() == 1
    with pytest.raises(Refused, match="no champion before"):
        promotions.roll_back(SHOP, NAME)
    assert serving() == 1


def test_after_a_rollback_a_new_promotion_has_the_right_champion_before_it(home: Path) -> None:
    for version in (1, 2):
        promotions.serve(SHOP, bundle(version), "promote")
    promotions.roll_back(SHOP, NAME)
    promotions.serve(SHOP, bundle(3), "promote")
    assert promotions.roll_back(SHOP, NAME)[0].version == 1


CHANGES: list[dict[str, object]] = [
    {"version": 1},
    {"verdict": {"accepted": True, "why": "x"}},
    {"bundle": "0" * 64},
    {"action": "refuse"},
    {"signature": "00" * 64},
    {"signature": "zz"},
    {"extra": 1},
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_record_is_passed_over(
    home: Path, record_file: Callable[[int], Path], change: dict[str, object]
) -> None:
    promotions.serve(SHOP, bundle(1), "baseline")
    promotions.serve(SHOP, bundle(2), "promote")
    rewrite(record_file(2), **change)
    found = promotions.find_champion(SHOP, NAME)
    assert found is not None and found.bundle.version == 1
    assert len(found.passed_over) == 1 and found.passed_over[0].startswith("record 2:")


def test_an_old_record_copied_to_a_higher_number_is_passed_over(home: Path, record_file: Callable[[int], Path]) -> None:
    promotions.serve(SHOP, bundle(1), "baseline")
    promotions.serve(SHOP, bundle(2), "promote")
    record_file(9).write_text(record_file(1).read_text())
    assert serving() == 2
    rewrite(record_file(9), sequence=9)
    assert serving() == 2


def test_a_record_signed_by_another_key_is_passed_over(home: Path, record_file: Callable[[int], Path]) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    promotions.serve(SHOP, bundle(1), "baseline")
    promotions.serve(SHOP, bundle(2), "promote")
    (record,) = [r for r in promotions.records(SHOP, NAME)[0] if r.sequence == 2]
    forged = Ed25519PrivateKey.generate().sign(record.signed_bytes()).hex()
    record_file(2).write_text(json.dumps({**asdict(record), "signature": forged}))
    assert serving() == 1


def test_a_changed_bundle_is_not_served_and_the_one_before_is(home: Path) -> None:
    promotions.serve(SHOP, bundle(1), "baseline")
    two = bundle(2)
    promotions.serve(SHOP, two, "promote")
    (two.folder / "words.json").write_text('"other"')
    found = promotions.find_champion(SHOP, NAME)
    assert found is not None and found.bundle.version == 1 and "words.json" in found.passed_over[0]


def test_a_bundle_sealed_again_with_other_content_is_not_what_was_signed(home: Path) -> None:
    promotions.serve(SHOP, bundle(1), "baseline")
    two = bundle(2)
    promotions.serve(SHOP, two, "promote")
    (two.folder / "words.json").write_text('"other"')
    seal(two.folder, shop=SHOP, name=NAME, kind="test", settings={"a": 1})
    assert serving() == 1


def test_when_no_record_is_valid_there_is_a_refusal_not_an_answer(
    home: Path, record_file: Callable[[int], Path]
) -> None:
    promotions.serve(SHOP, bundle(1), "baseline")
    rewrite(record_file(1), version=7)
    with pytest.raises(Refused, match="signature"):
        promotions.champion(SHOP, NAME)


def test_the_private_key_is_for_its_owner_alone(home: Path) -> None:
    promotions.serve(SHOP, bundle(1), "baseline")
    path = home / SHOP / "keys" / "promotion.ed25519"
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    with pytest.raises(Problem, match="read by others"):
        promotions.serve(SHOP, bundle(2), "promote")


def test_serving_needs_the_public_key_alone(home: Path) -> None:
    promotions.serve(SHOP, bundle(1), "baseline")
    (home / SHOP / "keys" / "promotion.ed25519").unlink()
    assert serving() == 1


def test_writers_at_once_get_numbers_of_their_own(home: Path) -> None:
    one = bundle(1)
    promotions.serve(SHOP, one, "baseline")
    threads = [threading.Thread(target=promotions.append, args=(SHOP, one, "refuse")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [r.sequence for r in promotions.records(SHOP, NAME)[0]] == list(range(1, 10))


def test_a_bundle_is_opened_only_as_it_was_sealed(home: Path) -> None:
    one = bundle(1)
    assert open_bundle(one.folder) == one and one.version == 1
    (one.folder / "more.json").write_text("1")
    with pytest.raises(Problem, match="more"):
        open_bundle(one.folder)
    (one.folder / "more.json").unlink()
    (one.folder / "words.json").unlink()
    with pytest.raises(Problem, match="words"):
        open_bundle(one.folder)
