"""A needle is found in whatever form it stands; what only looks like it is not; no finding holds a secret."""

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs import canaries, opening
from jobs.canaries import canary, plantable, prove
from jobs.console import Refused, Usage
from jobs.scanning import Finding, Found, aligned, find, spellings, views

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
LETTERS = "abcdefgxyzäéß雀鸟金 .,-'\"\\/\n&%<0123456789"
needles = st.text(LETTERS, min_size=6, max_size=20).filter(lambda text: len(text.strip()) >= 5 and not text.isdigit())
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(LETTERS, max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=6,
)


def within(value: Any, needle: str, how: int) -> Any:
    """`value` with the needle put somewhere into it: as a value, as a key, or as JSON within JSON."""
    put: Any = [needle, {needle: 1}, json.dumps({"deep": [needle]})][how]
    if isinstance(value, list):
        return [*value, put]
    if isinstance(value, dict):
        return {**value, "z": {"y": put}}
    return [value, put]


@QUICK
@given(values, needles, st.integers(0, 2), st.booleans())
def test_a_needle_anywhere_in_any_json_is_found_and_a_near_miss_is_not(
    tmp_path: Path, value: Any, needle: str, how: int, ascii: bool
) -> None:
    text = json.dumps(within(value, needle.strip(), how), ensure_ascii=ascii)
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    found = find([tmp_path], {"sought": needle, "near": "q" + needle.strip()[1:] + "w", "other": canary()})
    assert {finding.name for finding in found} == {"sought"}


@QUICK
@given(st.lists(st.text(LETTERS, max_size=8), max_size=5), needles, st.sampled_from(["plain", "dictionary", "nested"]))
def test_a_needle_in_any_column_of_texts_is_found_and_a_near_miss_is_not(
    tmp_path: Path, before: list[str], needle: str, how: str
) -> None:
    rows = pa.array([*before, needle.strip(), None, "after"])
    column = {"plain": rows, "dictionary": rows.dictionary_encode(), "nested": pa.array([rows.to_pylist(), []])}[how]
    pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet", compression="zstd")
    found = find([tmp_path], {"sought": needle, "near": "q" + needle.strip()[1:] + "w"})
    assert {finding.name for finding in found} == {"sought"}
    assert any(finding.place.startswith("column text") for finding in found)


def test_what_is_part_of_another_word_is_not_found(tmp_path: Path) -> None:
    for text in ("joann@shop.org", "ann@shop.orgs", "1ann@shop.org", "5613812345678"):
        (tmp_path / "a.txt").write_text(text)
        (tmp_path / "a.json").write_text(json.dumps([text]))
        pq.write_table(pa.table({"t": [text, "x"]}), tmp_path / "a.parquet")
        assert find([tmp_path], {"email": "ann@shop.org", "phone": "13812345678"}) == [], text
    for text in ("<ann@shop.org>", "ANN@Shop.org", "to:ann@shop.org.", "问ann@shop.org吧"):
        (tmp_path / "a.txt").write_text(text)
        assert find([tmp_path / "a.txt"], {"email": "ann@shop.org"}), text


def test_two_values_that_lie_side_by_side_make_no_needle(tmp_path: Path) -> None:
    pq.write_table(pa.table({"t": ["ann@", "shop.org"]}), tmp_path / "a.parquet", use_dictionary=False)
    assert not [finding for finding in find([tmp_path], {"email": "ann@shop.org"}) if finding.decoded]


def test_the_bytes_of_another_person_in_a_database_are_no_finding(tmp_path: Path) -> None:
    """joann's row is alive, so her bytes are in the file; ann's are not. But a dead row of ann's is found."""
    import sqlite3

    base = sqlite3.connect(tmp_path / "a.db")
    base.execute("PRAGMA secure_delete=OFF")
    base.execute("CREATE TABLE t(a, b)")
    base.executemany("INSERT INTO t VALUES(?, ?)", [("x", "joann@shop.org"), ("dead1", "bea@shop.org")])
    base.commit()
    base.execute("DELETE FROM t WHERE a='dead1'")
    base.commit()
    base.close()
    found = find([tmp_path], {"ann": "ann@shop.org", "bea": "bea@shop.org"})
    assert {(finding.name, finding.decoded) for finding in found} == {("bea", False)}


@pytest.mark.parametrize(
    ("name", "text", "hits"),
    [
        ("a.json", '{"visitor_id": "900", "position": 900}', 1),
        ("a.json", '{"visitor": 900, "item_id": "900"}', 1),
        ("a.json", '{"visitors": ["900", "901"]}', 1),
        ("a.json", '{"households": {"900": {}}}', 1),
        ("a.json", '{"visitors": 900}', 0),  # so many of them
        ("a.json", '{"item_id": "900", "store": 900}', 0),
        ("a.json", '{"visitor_id": "9001"}', 0),
        ("a.json", r'{"log": "{\"visitor_id\": \"900\"}"}', 1),
        ("a.log", "python -m jobs features get --visitor 900", 1),
        ("a.log", "visitor_id=900 took 900 ms", 1),
        ("a.log", "each visitor 900 times", 0),
        ("a.csv", "item,household_key\n900,1\n2,900\n", 1),
    ],
)
def test_a_short_id_counts_only_where_it_names_a_person(tmp_path: Path, name: str, text: str, hits: int) -> None:
    (tmp_path / name).write_text(text)
    assert sum(bool(finding.count) for finding in find([tmp_path], {"visitor_id": "900"})) == hits


@pytest.mark.parametrize(
    ("data", "hits"),
    [
        (b"\x00\xff\x0a\x07visitor\x12\x03900\x18\xff", 1),  # protocol buffers: a tag, the length, the value
        (b"\x00\xffvisitor\x02\x00\x00\x00\x03\x00\x00\x00900\xff\x00", 1),  # Feast: type, length, value
        (b"\x00\xffvisitor\x01\x01\x07900\xff\x00", 0),
        (b"\x00\xffvisitor\x02\x00\x00\x00\x04\x00\x00\x009001\xff\x00", 0),
    ],
)
def test_a_short_id_in_bytes_stands_behind_its_length(tmp_path: Path, data: bytes, hits: int) -> None:
    (tmp_path / "a.bin").write_bytes(data)
    assert len(find([tmp_path], {"visitor_id": "900"})) == hits


def test_a_short_id_is_a_whole_value_of_a_column_that_names_a_person(tmp_path: Path) -> None:
    rows = {
        "visitor": ["900", "9001", "900"],
        "item_id": ["900", "900", "900"],
        "household_key": [900, 1, 2],
        "n": [900] * 3,
    }
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    found = find([tmp_path], {"visitor_id": "900"})
    assert {finding.place for finding in found} == {"column visitor", "column household_key"}


def test_a_needle_that_says_nothing_is_refused(tmp_path: Path) -> None:
    for needle in ("", "  ", "王"):
        with pytest.raises(Usage, match="too short"):
            find([tmp_path], {"name": needle})
    with pytest.raises(Usage, match="nothing to search"):
        find([tmp_path / "none"], {"name": "Ann Lee"})


def test_no_finding_holds_the_secret_not_even_in_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "ann@shop.org"
    folder.mkdir()
    (folder / "a.json").write_text('{"ann@shop.org": 1}')
    pq.write_table(pa.table({"ann@shop.org": ["ann@shop.org"]}), folder / "b.parquet")
    found = find([tmp_path], {"email": "ann@shop.org"})
    assert {finding.format for finding in found} >= {"name", "json", "parquet"}
    assert "ann" not in repr(found) and "ann" not in repr(found.unread)


def test_folders_are_left_out_and_shared_files_counted_once(tmp_path: Path) -> None:
    for name in ("a/x.txt", "a/keys/y.txt", "b.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("ann@shop.org")
    found = find([tmp_path, tmp_path / "a"], {"email": "ann@shop.org"}, without=[tmp_path / "a" / "keys"])
    assert len(found) == 2 and found.files == {"text": 2} and found.bytes == {"text": 24}


@given(st.binary(max_size=9), st.binary(min_size=9, max_size=30), st.binary(max_size=9))
def test_base64_is_found_in_all_three_alignments(before: bytes, needle: bytes, after: bytes) -> None:
    whole = base64.b64encode(before + needle + after)
    assert any(part in whole for part in aligned(needle))


def test_thousands_of_needles_cost_no_more_than_reading(tmp_path: Path) -> None:
    wanted = {f"n{number}": f"person{number}@shop{number}.example" for number in range(3_000)}
    (tmp_path / "a.txt").write_text("\n".join(f"x{n}@shop.example" for n in range(5_000)) + f"\n{wanted['n77']}\n")
    assert [finding.name for finding in find([tmp_path], wanted)] == ["n77"]


def test_every_way_of_writing_is_a_spelling_and_a_view() -> None:
    forms = {spelling.form for spelling in spellings("n", "Ann Lee 金")}
    assert forms == {"as it is", "escaped", "percent-encoded", "UTF-16", "GB 18030", "hexadecimal", "base64"}
    assert b"ann@x" in list(views(rb'{"a":"{\"b\":\"\u0061nn@x\"}"}'))[-1]


# Canaries ---------------------------------------------------------------------------------------------


def test_a_canary_in_each_format_is_found() -> None:
    proven = prove()
    assert proven == plantable() and len(proven) >= 33


def seen(*but: str) -> Callable[[list[Path], Mapping[str, str]], Found]:
    """A search that answers with every needle's name but these and the near misses, whatever is there."""

    def search(roots: list[Path], sought: Mapping[str, str]) -> Found:
        found = Found()
        names = [name for name in sought if name not in but and not name.startswith("near")]
        found += [Finding(name, "", "", "", "", True, 1) for name in names]
        return found

    return search


def test_a_search_that_is_blind_to_one_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canaries, "PLANTS", dict.fromkeys(canaries.PLANTS, ("none", lambda path, needle: None)))
    prove(seen())
    for blind in plantable():
        with pytest.raises(Refused, match=f"1 of {len(plantable())} canaries: {blind}"):
            prove(seen(blind))


@pytest.mark.parametrize(
    ("opener", "blind"),
    [("parquet", "Parquet, nested"), ("gzip", "JSON lines, gzip"), ("sqlite", "packed blob"), ("png", "PNG, packed")],
)
def test_without_an_opener_the_canaries_are_not_found(monkeypatch: pytest.MonkeyPatch, opener: str, blind: str) -> None:
    monkeypatch.delitem(opening.OPENERS, opener)
    with pytest.raises(Refused, match=blind):
        prove()


def test_a_search_that_finds_anything_is_refused() -> None:
    def search(roots: list[Path], sought: Mapping[str, str]) -> Found:
        found = Found()
        found += [Finding(name, "", "", "", "", True, 1) for name in sought]
        return found

    with pytest.raises(Refused, match="not there: near Parquet"):
        prove(search)


def test_canaries_are_new_every_time() -> None:
    assert canary() != canary() and canaries.canary(lambda n: "0" * 2 * n) == "Canary 00000000@00000000.example 金丝雀"
