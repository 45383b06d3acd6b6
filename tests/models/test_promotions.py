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


def test_a_version_that_was_retired_by_an_erasure_serves_no_more(home: Path) -> None:
    for version in (1, 2):
        promotions.serve(SHOP, bundle(version), "baseline" if version == 1 else "promote")
    told = home / SHOP / "bundles" / "erased.json"
    told.write_text(json.dumps({f"{NAME}/2": {"policy": "retrain"}}))
    assert (serving(), promotions.due(SHOP, NAME, 2), promotions.due(SHOP, NAME, 1)) == (2, "retrain", None)
    told.write_text(json.dumps({f"{NAME}/2": {"policy": "retire"}}))
    found = promotions.find_champion(SHOP, NAME)
    assert found is not None and found.bundle.version == 1
    assert "somebody it learnt from was erased" in found.passed_over[0]


def test_what_was_trained_again_is_not_gone_back_from(home: Path) -> None:
    for version in (1, 2, 3):
        promotions.serve(SHOP, bundle(version), "baseline" if version == 1 else "promote")
    told = home / SHOP / "bundles" / "erased.json"
    told.write_text(json.dumps({f"{NAME}/{version}": {"policy": "retrain"} for version in (2, 3)}))
    promotions.roll_back(SHOP, NAME)  # from one that is to be trained again to another: no worse
    assert serving() == 2
    promotions.serve(SHOP, bundle(4), "promote")
    with pytest.raises(Refused, match=r"version 2 .* is not gone back to"):
        promotions.roll_back(SHOP, NAME)
    assert serving() == 4


def pickled() -> bytes:
    import pickle

    return pickle.dumps({"a": 1})


def objects() -> bytes:
    import io

    import numpy as np

    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [(f"model{ending}", pickled()) for ending in (".json", ".npy", ".safetensors", ".onnx", ".parquet", ".txt")]
    + [("model.npy", objects()), ("model.safetensors", b"PK\x03\x04 an archive of a framework")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_could_run_when_it_is_read_is_no_bundle_under_any_name(home: Path, name: str, content: bytes) -> None:
    with building(SHOP, NAME) as folder:
        (folder / name).write_bytes(content)
        with pytest.raises(Problem, match="is not what its name says"):
            seal(folder, shop=SHOP, name=NAME, kind="test", settings={})


def test_what_each_format_begins_with_is_taken(home: Path) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from safetensors.numpy import save_file

    with building(SHOP, NAME) as folder:
        np.save(folder / "a.npy", np.arange(3))
        pq.write_table(pa.table({"a": [1]}), folder / "a.parquet")
        save_file({"a": np.arange(3.0)}, folder / "a.safetensors")
        (folder / "a.txt").write_text("tree\nversion=v4\n")
        (folder / "b.json").write_text("[]")
        (folder / "empty.txt").write_text("")
        assert len(seal(folder, shop=SHOP, name=NAME, kind="test", settings={}).files) == 6


def test_a_record_of_before_the_book_is_valid_still(home: Path, record_file: Callable[[int], Path]) -> None:
    """Its fields are fewer; the signature is over those that it has."""
    made = promotions.serve(SHOP, bundle(1), "baseline")
    values = {name: value for name, value in asdict(made).items() if name not in ("approval", "policy", "audit")}
    values["signature"] = promotions.signing_key(SHOP).sign(promotions.canonical(values)).hex()
    record_file(1).write_text(json.dumps(values))
    assert serving() == 1
