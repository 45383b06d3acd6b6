"""Canaries: made-up secrets, one planted in each format, that a search must find before its answer counts.

A search that finds nothing has told something only if it would have found what is there. So before every search of
consequence one random needle is planted in each format and each way of writing, in a folder of its own, and the very
same search must find every one of them, and must not find what only looks like one.
"""

import base64
import bz2
import gzip
import html
import io
import json
import lzma
import secrets
import sqlite3
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from jobs.console import Refused
from jobs.scanning import Found, find

Plant = Callable[[Path, str], None]
Search = Callable[[list[Path], Mapping[str, str]], Found]


def canary(random: Callable[[int], str] = secrets.token_hex) -> str:
    """A needle that stands nowhere else: words, an e-mail address of a reserved domain, Chinese, 64 random bits.

    The domain is kept for examples (RFC 2606).
    """
    return f"Canary {random(4)}@{random(4)}.example 金丝雀"


FILLER = " ".join(str(n * n) for n in range(500))
"""Text that compresses: of a short one alone, some methods keep the letters as they are."""


# Tables -----------------------------------------------------------------------------------------------


def _parquet(path: Path, needle: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(
        pa.table({"text": [FILLER, f"said {needle}.", None]}),
        path,
        compression="zstd",
        use_dictionary=False,
        write_statistics=False,
    )


def _dictionary(path: Path, needle: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    column = pa.array([FILLER, needle, "after"] * 50).dictionary_encode()
    pq.write_table(pa.table({"text": column}), path, compression="gzip", write_statistics=False)


def _nested(path: Path, needle: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = pa.list_(pa.struct([("inner", pa.map_(pa.string(), pa.list_(pa.string())))]))
    rows = [[], [{"inner": [("key", [FILLER, needle])]}], None]
    pq.write_table(pa.table({"deep": pa.array(rows, kind)}), path, compression="zstd", write_statistics=False)


def _footer(path: Path, needle: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = pa.table({"n": [1.5]}).replace_schema_metadata({"note": json.dumps({"who": needle})})
    pq.write_table(rows, path, compression="gzip")


def _arrow(path: Path, needle: str) -> None:
    import pyarrow as pa

    rows = pa.table({"text": pa.array([FILLER, needle], pa.large_string())})
    with pa.ipc.new_file(path, rows.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as file:
        file.write_table(rows)


# Texts ------------------------------------------------------------------------------------------------


def _as(write: Callable[[str], bytes]) -> Plant:
    """A file that holds what `write` makes of the needle."""

    def plant(path: Path, needle: str) -> None:
        path.write_bytes(write(needle))

    return plant


def _json(needle: str) -> bytes:
    return json.dumps({"a": [1, {"b": json.dumps({"c": f"says {needle}!"})}]}).encode()


def _gzip_lines(needle: str) -> bytes:
    return gzip.compress(b"".join(json.dumps({"n": n, "text": needle}).encode() + b"\n" for n in range(3)))


def _zip_in_tar(needle: str) -> bytes:
    inner, outer = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("deep/notes.csv", f"who,what\n{needle},1\n")
    with tarfile.open(fileobj=outer, mode="w:gz") as tar:
        member = tarfile.TarInfo("inner.zip")
        member.size = len(inner.getvalue())
        tar.addfile(member, io.BytesIO(inner.getvalue()))
    return outer.getvalue()


def _zstd(needle: str) -> bytes:
    import pyarrow as pa

    return bytes(pa.compress(f"{FILLER} {needle}\n".encode(), "zstd", asbytes=True))


def _entities(needle: str) -> bytes:
    plain = html.escape(needle).encode("ascii", "xmlcharrefreplace").decode().replace("@", "&#64;")
    return f"<!DOCTYPE html><p title='x'>{plain}</p>".encode()


def _percent(needle: str) -> bytes:
    return f"GET /search?q={quote(needle, safe='')}&n=3 HTTP/1.1\n".encode()


def _base64(needle: str) -> bytes:
    return json.dumps({"body": base64.b64encode(f"x{needle}y".encode()).decode()}).encode()


def _packed_base64(needle: str) -> bytes:
    return json.dumps({"body": base64.b64encode(gzip.compress(needle.encode())).decode()}).encode()


# Databases --------------------------------------------------------------------------------------------


def _filled(path: Path, needle: str) -> sqlite3.Connection:
    base = sqlite3.connect(path)
    base.execute("PRAGMA secure_delete=OFF")
    base.execute("CREATE TABLE people(id INTEGER PRIMARY KEY, kept TEXT, packed BLOB)")
    rows = [(n, f"row {n} {needle if n == 40 else 'of others'}", b"") for n in range(80)]
    base.executemany("INSERT INTO people VALUES(?, ?, ?)", rows)
    base.commit()
    return base


def _sqlite(path: Path, needle: str) -> None:
    _filled(path, needle).close()


def _sqlite_blob(path: Path, needle: str) -> None:
    with closing(_filled(path, "nobody")) as base:
        base.execute("UPDATE people SET packed=? WHERE id=7", (zlib.compress(needle.encode() * 3),))
        base.commit()


def _sqlite_deleted(path: Path, needle: str) -> None:
    """The row is gone, but its bytes still lie in a free page."""
    with closing(_filled(path, needle)) as base:
        base.execute("DELETE FROM people")
        base.commit()


def _sqlite_log(path: Path, needle: str) -> None:
    """The row stands in the log of changes (WAL) only, as where a writer is still open."""
    with tempfile.TemporaryDirectory(prefix="canary-") as folder:
        live = Path(folder) / "live.db"
        with closing(sqlite3.connect(live)) as base:
            base.execute("PRAGMA journal_mode=WAL")
            base.execute("CREATE TABLE people(kept TEXT)")
            base.commit()
            base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            base.execute("INSERT INTO people VALUES(?)", (needle,))
            base.commit()
            path.write_bytes(live.read_bytes())
            path.with_name(path.name + "-wal").write_bytes(live.with_name("live.db-wal").read_bytes())


def _redis(path: Path, needle: str) -> None:
    """A dump as Redis writes it, with a string that it compressed (LZF)."""
    plain = needle.encode() + b"a" * 40
    packed = b"".join(bytes([len(part) - 1]) + part for part in _parts(needle.encode() + b"a")) + b"\xe0\x1e\x00"
    sizes = b"\xc3" + _size(len(packed)) + _size(len(plain))
    path.write_bytes(b"REDIS0009\xfe\x00\x00\x03key" + sizes + packed + b"\xff" + b"\x00" * 8)


def _parts(text: bytes) -> list[bytes]:
    return [text[n : n + 32] for n in range(0, len(text), 32)]


def _size(n: int) -> bytes:
    return bytes([n]) if n < 64 else bytes([0x40 | n >> 8, n & 255])


def _index(stored: bool) -> Plant:
    def plant(path: Path, needle: str) -> None:
        import tantivy

        path.mkdir()
        builder = tantivy.SchemaBuilder()
        builder.add_text_field("text", stored=stored, index_option="freq")
        index = tantivy.Index(builder.build(), path=str(path))
        writer = index.writer(heap_size=15_000_000, num_threads=1)
        for text in ("before", f"said {needle} there", "after"):
            document = tantivy.Document()
            document.add_text("text", text)
            writer.add_document(document)
        writer.commit()
        writer.wait_merging_threads()

    return plant


# Models and pictures ------------------------------------------------------------------------------------


def _safetensors(metadata: bool) -> Callable[[str], bytes]:
    def made(needle: str) -> bytes:
        tensor = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
        header = {"__metadata__": {"note": needle}, "w": tensor} if metadata else {f"rows.{needle}": tensor}
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + b"\x00" * 4

    return made


def _npy(needle: str) -> bytes:
    import numpy as np

    file = io.BytesIO()
    np.save(file, np.array(["before", needle]))
    return file.getvalue()


def _npz(needle: str) -> bytes:
    import numpy as np

    file = io.BytesIO()
    np.savez_compressed(file, keys=np.array([[needle, "after"]]))
    return file.getvalue()


def _onnx(needle: str) -> bytes:
    """A model of ONNX with a description: field 1 the version, field 6 the text (protocol buffers)."""
    text = needle.encode()
    return b"\x08\x09" + b"\x32" + bytes([len(text)]) + text


def _png(packed: bool) -> Callable[[str], bytes]:
    def made(needle: str) -> bytes:
        text = needle.encode()
        body = (
            b"note\x00"
            + (b"\x01\x00" if packed else b"\x00\x00")
            + b"\x00\x00"
            + (zlib.compress(text) if packed else text)
        )
        size = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
        parts = [(b"IHDR", size), (b"iTXt", body), (b"IDAT", zlib.compress(b"\x00\x00")), (b"IEND", b"")]
        return b"\x89PNG\r\n\x1a\n" + b"".join(_part(kind, part) for kind, part in parts)

    return made


def _part(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


# All of them --------------------------------------------------------------------------------------------

PLANTS: dict[str, tuple[str, Plant]] = {
    "Parquet": ("a.parquet", _parquet),
    "Parquet, dictionary": ("a.parquet", _dictionary),
    "Parquet, nested": ("a.parquet", _nested),
    "Parquet, footer": ("a.parquet", _footer),
    "Arrow": ("a.arrow", _arrow),
    "JSON in JSON": ("a.json", _as(_json)),
    "JSON lines, gzip": ("a.jsonl.gz", _as(_gzip_lines)),
    "zip in tar, gzip": ("a.tgz", _as(_zip_in_tar)),
    "bzip2": ("a.bz2", _as(lambda needle: bz2.compress(needle.encode()))),
    "xz": ("a.xz", _as(lambda needle: lzma.compress(f"{FILLER} {needle}".encode()))),
    "zstd": ("a.zst", _as(_zstd)),
    "CSV": ("a.csv", _as(lambda needle: f"who,what\n{needle},1\n".encode())),
    "HTML, entities": ("a.html", _as(_entities)),
    "log, percent-encoded": ("a.log", _as(_percent)),
    "no name of a format": ("a", _as(lambda needle: gzip.compress(needle.encode()))),
    "UTF-16": ("a.txt", _as(lambda needle: f"said {needle}\n".encode("utf-16"))),
    "GB 18030": ("a.txt", _as(lambda needle: ("今天说了什么：" + needle + "。明天再说。\n").encode("gb18030"))),
    "base64 in JSON": ("a.json", _as(_base64)),
    "gzip in base64 in JSON": ("a.json", _as(_packed_base64)),
    "hexadecimal": ("a.txt", _as(lambda needle: f"dump {needle.encode().hex()}\n".encode())),
    "unknown bytes": ("a.bin", _as(lambda needle: bytes(range(256)) + needle.encode() + bytes(range(256)))),
    "SQLite": ("a.db", _sqlite),
    "SQLite, packed blob": ("a.db", _sqlite_blob),
    "SQLite, deleted row": ("a.db", _sqlite_deleted),
    "SQLite, log of changes": ("a.db", _sqlite_log),
    "Redis dump": ("dump.rdb", _redis),
    "tantivy, stored": ("index", _index(stored=True)),
    "tantivy, words": ("index", _index(stored=False)),
    "safetensors, metadata": ("a.safetensors", _as(_safetensors(metadata=True))),
    "safetensors, name": ("a.safetensors", _as(_safetensors(metadata=False))),
    "NumPy": ("a.npy", _as(_npy)),
    "NumPy, zipped": ("a.npz", _as(_npz)),
    "ONNX": ("a.onnx", _as(_onnx)),
    "PNG": ("a.png", _as(_png(packed=False))),
    "PNG, packed": ("a.png", _as(_png(packed=True))),
}
NEEDS = {"tantivy": "tantivy"}
"""Formats (by the first word of their name) that are planted only where the package is installed that reads them."""


def plantable() -> list[str]:
    """The formats that can be planted here."""
    return [name for name in PLANTS if (needs := NEEDS.get(name.split(",")[0])) is None or find_spec(needs)]


def prove(search: Search = find) -> list[str]:
    """The formats in which `search` found a planted canary: all of them, or it is `Refused`. Takes a second.

    `Refused` too if it finds what differs from a canary in one character only: then it would find anything.
    """
    with tempfile.TemporaryDirectory(prefix="canaries-") as made:
        folder, needles = Path(made), {}
        for number, name in enumerate(plantable()):
            needles[name] = canary()
            file, plant = PLANTS[name]
            (folder / str(number)).mkdir()
            plant(folder / str(number) / file, needles[name])
        missing = {f"near {name}": needle[:-1] + "莺" for name, needle in needles.items()}
        found = {finding.name: finding for finding in search([folder], {**needles, **missing})}
    unseen = [name for name in needles if name not in found]
    if unseen:
        raise Refused(
            f"the search does not see {len(unseen)} of {len(needles)} canaries: {', '.join(unseen)}",
            where="jobs/scanning.py, jobs/opening.py",
            do="its answer would prove nothing: mend the search for these formats first",
        )
    wrong = [name for name in missing if name in found]
    if wrong:
        raise Refused(
            f"the search finds what is not there: {', '.join(wrong)}",
            where="jobs/scanning.py",
            do="its answer would prove nothing: mend it first",
        )
    return list(needles)
