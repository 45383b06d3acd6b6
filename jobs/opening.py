"""Any file, opened as far as it can be: what stands in it, piece by piece, for a search that trusts no name.

A format is told by its first bytes. What a format hides (compression, dictionaries, escapes, records in blobs) is
undone; what is then text comes as a `Piece` to be searched. The bytes as they lie on the disk come as a piece of their
own, so that free pages, logs of changes and damaged files are searched too. What cannot be undone is told as `Unread`.

The guarantee ends at pictures and fonts (their pixels and outlines are not read, their metadata is), at ciphers, and
at archives nested deeper than `DEPTH` or larger than `LARGEST`.
"""

import bz2
import gzip
import json
import lzma
import mmap
import re
import shutil
import sqlite3
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

DEPTH = 6  # archives within archives
LARGEST = 1 << 30  # bytes of one thing that is undone in memory: larger is told, and searched as it lies
ROWS = 1 << 14  # rows of SQLite, and documents of an index, that are held at once
AT_ONCE = 1 << 26  # bytes of a row group whose columns are read together
CHUNK = 1 << 24  # bytes that are searched at once
OVERLAP = 1 << 14  # bytes of the chunk before that are seen again, so that no needle is cut in two

Buffer = bytes | mmap.mmap


@dataclass(frozen=True)
class Piece:
    """What is searched at once: bytes; an Arrow array of strings, binaries or whole numbers; the words of an index.

    `decoded` tells text from bytes as they lie; `noisy` bytes are compressed, so that short needles would be found in
    them by chance; `field` is the column or key that the values stand under.
    """

    format: str
    place: str
    data: "bytes | pa.Array | Words"
    decoded: bool = True
    noisy: bool = False
    field: str = ""


@dataclass(frozen=True)
class Unread:
    """What could not be opened, and why. `raw`: its bytes were searched as they lie all the same."""

    path: str
    format: str
    reason: str
    raw: bool


Opened = Iterator[Piece | Unread]

# Formats by their first bytes -------------------------------------------------------------------------

MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"PAR1", "parquet"),
    (b"PARE", "encrypted parquet"),
    (b"ARROW1", "arrow"),
    (b"\xff\xff\xff\xff", "arrow stream"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"SQLite format 3\x00", "sqlite"),
    (b"\x37\x7f\x06\x82", "sqlite log"),
    (b"\x37\x7f\x06\x83", "sqlite log"),
    (b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7", "sqlite log"),
    (b"\x93NUMPY", "numpy"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"REDIS", "redis dump"),
    (b"GIF8", "picture"),
    (b"\xff\xd8\xff", "picture"),
    (b"\x00\x00\x01\x00", "picture"),
    (b"RIFF", "picture"),
    (b"OTTO", "font"),
    (b"wOFF", "font"),
    (b"wOF2", "font"),
    (b"\x00\x01\x00\x00\x00", "font"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!", "rar"),
    (b"%PDF", "pdf"),
    (b"\x80\x02", "pickle"),
    (b"\x80\x03", "pickle"),
    (b"\x80\x04", "pickle"),
    (b"\x80\x05", "pickle"),
)
PACKED = {"gzip", "bzip2", "zstd", "xz", "lz4", "zip", "7z", "rar", "pdf", "parquet", "encrypted parquet", "png"}
"""Formats whose bytes as they lie are mostly compressed."""
PLAIN = {"onnx", "sqlite log", "pickle"}
"""Formats that hold their texts uncompressed and unbroken: their bytes, searched as they lie, are all that there is."""
TANTIVY = {".term", ".idx", ".pos", ".fast", ".fieldnorm", ".store", ".del"}
TEXTS = {"json", "html", "csv", "text", "redis log", "mixed text"}


def sniffed(head: Buffer, name: str = "") -> str:
    """The format of what begins with `head` (all of it, or the first 64 KiB at least). The name only helps where a
    format has no first bytes of its own (ONNX, parts of a tantivy index).
    """
    start = bytes(head[: 1 << 16])
    if not start:
        return "empty"
    for magic, form in MAGIC:
        if start.startswith(magic):
            return form
    if start[257:262] == b"ustar":
        return "tar"
    if len(start) > 9 and start[8:9] == b"{" and 2 < int.from_bytes(start[:8], "little") < 1 << 27:
        return "safetensors"
    suffix = Path(name).suffix.lower()
    if suffix in TANTIVY:
        return "tantivy"
    if suffix == ".onnx":
        return "onnx"
    if start[:1] == b"\x78" and len(start) > 8 and int.from_bytes(start[:2], "big") % 31 == 0 and b"\x00" in start:
        return "zlib"
    return _text(start) or "binary"


def _text(start: bytes) -> str:
    """Which text begins with `start`; nothing if it is no text."""
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if b"\x00" in start:
        even, odd = start[0:512:2].count(0), start[1:512:2].count(0)
        half = max(1, len(start[:512]) // 2)
        return "utf-16" if (odd > 0.6 * half and even == 0) or (even > 0.6 * half and odd == 0) else ""
    if not _utf8(start):
        return "gb18030" if _chinese(start) else "mixed text" if _mostly(start) else ""
    body = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if body[:1] in (b"{", b"["):
        return "json"
    if re.match(rb"(?i)<(!doctype html|html|\?xml|svg|head|body|div|table)", body):
        return "html"
    if re.match(rb"\*\d+\r\n\$\d+\r\n", body):
        return "redis log"
    first = body.split(b"\n", 1)[0]
    return "csv" if first.count(b",") + first.count(b"\t") + first.count(b";") >= 1 and b"\n" in body else "text"


def _utf8(start: bytes) -> bool:
    control = sum(start.count(bytes([n])) for n in (1, 2, 3, 4, 5, 6, 14, 15, 16, 17))
    for cut in range(4):
        try:
            start[: len(start) - cut].decode("utf-8")
            return control * 50 <= len(start)
        except UnicodeDecodeError as fault:
            if fault.start < len(start) - cut - 4:
                return False
    return False


def _mostly(start: bytes) -> bool:
    """Whether it reads as text but for a few bytes, as where some lines came in another encoding."""
    text = start.decode("utf-8", "replace")
    return sum(not (ch.isprintable() or ch in "\r\n\t") or ch == "\ufffd" for ch in text) < 0.05 * len(text)


def _chinese(start: bytes) -> bool:
    """Whether this reads as Chinese text in GB 18030, and not as bytes that happen to decode."""
    try:
        text = start[: len(start) // 2 * 2].decode("gb18030", "strict")
    except UnicodeDecodeError as fault:
        if fault.start < len(start) - 8:
            return False
        text = start[: fault.start].decode("gb18030", "replace")
    plain = len(re.findall(r"[\r\n\t\x20-\x7e\u3000-\u9fff\uff00-\uffef]", text))
    return bool(text) and plain > 0.97 * len(text)


# Opening ----------------------------------------------------------------------------------------------


def opened(path: Path, name: str) -> Opened:
    """The pieces of a file that is told of as `name`, and what of it could not be read."""
    if path.is_symlink():
        inside = path.exists()
        yield Unread(
            name,
            "link",
            "a link: what it points to is searched where it lies" if inside else "a link to nothing",
            False,
        )
        return
    if not path.is_file():
        yield Unread(name, "special", "not a regular file", False)
        return
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:
                return
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                yield from contents(data, name, path=path)
    except FileNotFoundError:
        yield Unread(name, "gone", "it was removed while it was being searched", False)
    except OSError as fault:
        yield Unread(name, "unknown", f"the system refuses it: {fault.strerror or type(fault).__name__}", False)


def contents(data: Buffer, name: str, place: str = "", depth: int = 0, path: Path | None = None) -> Opened:
    """The pieces of `data`: those of its format, then its bytes as they lie (a text's bytes are that text)."""
    form = sniffed(data, name)
    if form == "empty":
        return
    if form in TEXTS:
        yield from chunks(data, form, place, decoded=True)
        if name.endswith("meta.json") and b'"index_settings"' in data[: 1 << 20] and b'"segments"' in data[: 1 << 20]:
            yield from _attempted(_tantivy, Source(data, name, place, depth, path), "tantivy")
        return
    opener = OPENERS.get(form)
    if depth > DEPTH:
        yield Unread(name, form, f"{_at(place)}nested deeper than {DEPTH}", True)
    elif opener is not None:
        yield from _attempted(opener, Source(data, name, place, depth, path), form)
    elif form == "tantivy" and path is not None and (path.parent / "meta.json").is_file():
        pass  # asked as a whole, where its meta.json lies
    elif form not in PLAIN:
        yield Unread(name, form, f"{_at(place)}no way to decode a {form} file", True)
    yield from chunks(data, form, place, decoded=False)


def _attempted(opener: Callable[["Source"], Opened], source: "Source", form: str) -> Opened:
    """What an opener finds; a fault of whatever kind says that the rest was not read, and hides no other file."""
    try:
        yield from opener(source)
    except Exception as fault:
        yield Unread(source.name, form, f"{_at(source.place)}could not be decoded ({type(fault).__name__})", True)


def _at(place: str) -> str:
    return f"{place}: " if place else ""


def chunks(data: Buffer, form: str, place: str, *, decoded: bool) -> Iterator[Piece]:
    """All bytes, in overlapping pieces that fit into memory. A text is cut where a line ends, if one does."""
    start = 0
    while start < len(data):
        end = min(len(data), start + CHUNK)
        seen = max(0, start - OVERLAP)
        where = place if len(data) <= CHUNK else f"{place} byte {start:,} on".strip()
        yield Piece(form, where, data[seen:end], decoded, noisy=form in PACKED)
        start = end


@dataclass(frozen=True)
class Source:
    """What an opener gets: all bytes, the name and place under which it is told of, and the file, if it is one."""

    data: Buffer
    name: str
    place: str
    depth: int
    path: Path | None

    def arrow(self) -> Any:
        """All of it as a file of Arrow."""
        import pyarrow as pa

        return pa.BufferReader(bytes(self.data)) if self.path is None else pa.memory_map(str(self.path))

    def within(self, part: str) -> str:
        """The place of a part."""
        return f"{self.place}!{part}" if self.place else part

    def inner(self, data: bytes, part: str) -> Opened:
        """The pieces of a part, which may be of any format itself. Only its last name helps to tell it."""
        yield from contents(data, part.rsplit("!", 1)[-1] or self.name, self.within(part), self.depth + 1)


# Tables -----------------------------------------------------------------------------------------------


def _parquet(source: Source) -> Opened:
    """Every string, binary and whole-number column, nested ones too, by row group; names, metadata, statistics.

    Of a column with a dictionary the dictionary is searched: all its values, those of no row included, each once.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = source.arrow()
    metadata = pq.read_metadata(data)
    schema = metadata.schema.to_arrow_schema()
    told = [key + b"=" + value for key, value in (metadata.metadata or {}).items() if key != b"ARROW:schema"]
    told += [key + b"=" + value for key, value in (schema.metadata or {}).items()]
    told += [" ".join(metadata.schema.names).encode()]
    yield Piece("parquet", source.within("metadata"), b"\n".join(told))
    yield Piece("parquet", source.within("statistics"), b"\n".join(_edges(metadata)))
    wanted = [field for field in schema if _searchable(field.type)]
    strings = [field.name for field in wanted if pa.types.is_string(field.type) or pa.types.is_binary(field.type)]
    file = pq.ParquetFile(data, metadata=metadata, read_dictionary=strings, pre_buffer=False)
    for group in range(metadata.num_row_groups):
        small = metadata.row_group(group).total_byte_size < AT_ONCE
        for names in [[f.name for f in wanted]] if small else [[f.name] for f in wanted]:
            rows = file.read_row_group(group, columns=names, use_threads=False)
            for name in names:
                yield from arrays(rows.column(name), "parquet", source.within(f"column {name}"), name)


def _edges(metadata: Any) -> list[bytes]:
    """The smallest and largest texts of all columns, as their statistics tell them."""
    found = []
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            with suppress(Exception):  # of a type that Arrow has no word for: the bytes are searched as they lie
                known = metadata.row_group(group).column(column).statistics
                if known is not None and known.has_min_max:
                    found += [known.min, known.max]
    return [value if isinstance(value, bytes) else value.encode() for value in found if isinstance(value, str | bytes)]


def _searchable(kind: "pa.DataType") -> bool:
    """Whether strings, binaries or whole numbers can stand in it."""
    import pyarrow as pa

    return not (pa.types.is_floating(kind) or pa.types.is_temporal(kind) or pa.types.is_boolean(kind))


def _arrow(source: Source) -> Opened:
    import pyarrow as pa

    buffer = source.arrow()
    streamed = bytes(source.data[:4]) == b"\xff\xff\xff\xff"
    reader = pa.ipc.open_stream(buffer) if streamed else pa.ipc.open_file(buffer)
    told = [key + b"=" + value for key, value in (reader.schema.metadata or {}).items()]
    yield Piece("arrow", source.within("metadata"), b"\n".join([" ".join(reader.schema.names).encode(), *told]))
    for batch in reader if streamed else (reader.get_batch(n) for n in range(reader.num_record_batches)):
        for field, array in zip(batch.schema, batch.columns, strict=True):
            yield from arrays(array, "arrow", source.within(f"column {field.name}"), field.name)


def arrays(array: "pa.Array", form: str, place: str, field: str) -> Iterator[Piece]:
    """The strings, binaries and whole numbers of an Arrow array, out of lists, structs, maps and dictionaries."""
    import pyarrow as pa

    if isinstance(array, pa.ChunkedArray):
        for chunk in array.chunks:
            yield from arrays(chunk, form, place, field)
        return
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        yield from arrays(array.storage, form, place, field)
    elif pa.types.is_dictionary(kind):
        yield from arrays(array.dictionary, form, place, field)
    elif pa.types.is_map(kind):
        yield from arrays(array.keys, form, place, field)
        yield from arrays(array.items, form, place, field)
    elif pa.types.is_struct(kind):
        for child, inner in zip(array.flatten(), kind, strict=True):
            yield from arrays(child, form, f"{place}.{inner.name}", inner.name)
    elif pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from arrays(array.flatten(), form, place, field)
    elif pa.types.is_string_view(kind) or pa.types.is_large_string(kind):
        yield from arrays(array.cast(pa.string()), form, place, field)
    elif pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind) or pa.types.is_binary_view(kind):
        yield from arrays(array.cast(pa.binary()), form, place, field)
    elif pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_integer(kind):
        yield Piece(form, place, array, field=field)
    elif pa.types.is_run_end_encoded(kind):
        yield from arrays(array.values, form, place, field)


# Compressed, and archives -------------------------------------------------------------------------------


def _unpacked(source: Source) -> Opened:
    """One stream of gzip, bzip2, xz, zstd, lz4 or zlib."""
    form = sniffed(source.data, source.name)
    whole = bytes(source.data)
    if form in ("gzip", "bzip2", "xz"):
        opener: Any = {"gzip": gzip.GzipFile, "bzip2": bz2.BZ2File, "xz": lzma.LZMAFile}[form]
        file = opener(fileobj=BytesIO(whole)) if form == "gzip" else opener(BytesIO(whole))
    elif form == "zlib":
        made = zlib.decompressobj()
        inside = made.decompress(whole, LARGEST + 1)
        file = BytesIO(inside)
    else:
        import pyarrow as pa

        file = pa.CompressedInputStream(pa.BufferReader(whole), form)
    inside, cut = _as_far_as_it_goes(file)
    if len(inside) > LARGEST:
        yield Unread(source.name, form, f"{_at(source.place)}more than {LARGEST:,} bytes when unpacked", True)
        inside = inside[:LARGEST]
    elif cut:
        yield Unread(source.name, form, f"{_at(source.place)}unpacked to byte {len(inside):,}, then {cut}", True)
    name = re.sub(r"(?i)\.(gz|bz2|xz|zst|lz4)$", "", source.name.rsplit("/", 1)[-1])
    yield from contents(inside, name, source.within(form), source.depth + 1)


def _as_far_as_it_goes(file: Any) -> tuple[bytes, str]:
    """What can be unpacked, at most a byte beyond `LARGEST`; and the fault that ended it, if one did."""
    made, some = bytearray(), getattr(file, "read1", file.read)  # `read` loses what it had when it meets the fault
    with closing(file):
        while len(made) <= LARGEST:
            try:
                part = some(min(1 << 16, LARGEST + 1 - len(made)))
            except Exception as fault:
                return bytes(made), type(fault).__name__
            if not part:
                break
            made += part
    return bytes(made), ""


def _zip(source: Source) -> Opened:
    with zipfile.ZipFile(BytesIO(bytes(source.data))) as archive:
        told = [archive.comment, *(part for i in archive.infolist() for part in (i.filename.encode(), i.comment))]
        yield Piece("zip", source.within("names"), b"\n".join(told))
        for number, info in enumerate(archive.infolist()):
            if info.is_dir():
                continue
            part = _member(info.filename, number)
            if info.flag_bits & 1:
                yield Unread(source.name, "zip", f"{source.within(part)} is encrypted", True)
            elif info.file_size > LARGEST:
                yield Unread(source.name, "zip", f"{source.within(part)} is larger than {LARGEST:,} bytes", True)
            else:
                yield from source.inner(archive.read(info), part)


def _tar(source: Source) -> Opened:
    with tarfile.open(fileobj=BytesIO(bytes(source.data)), mode="r:") as archive:
        for number, member in enumerate(archive):
            told = " ".join([member.name, member.linkname, member.uname, member.gname, *member.pax_headers.values()])
            yield Piece("tar", source.within("names"), told.encode("utf-8", "surrogateescape"))
            part = _member(member.name, number)
            if member.isfile() and member.size > LARGEST:
                yield Unread(source.name, "tar", f"{source.within(part)} is larger than {LARGEST:,} bytes", True)
            elif member.isfile() and (file := archive.extractfile(member)) is not None:
                yield from source.inner(file.read(), part)


def _member(name: str, number: int) -> str:
    """How a member of an archive is told of: its last name."""
    return name.rstrip("/").rsplit("/", 1)[-1] or f"member {number}"


# Databases and indexes ----------------------------------------------------------------------------------


def _sqlite(source: Source) -> Opened:
    """Every text, blob and whole number of every table, through SQLite itself; blobs may be of any format.

    The file is opened as it lies and never written (`immutable`); a log of changes beside it is read in a copy.
    """
    with tempfile.TemporaryDirectory(prefix="opening-") as folder:
        path = source.path
        logs = [] if path is None else [path.with_name(path.name + end) for end in ("-wal", "-journal")]
        if path is None or any(log.is_file() and log.stat().st_size for log in logs):
            copy = Path(folder) / "copy.db"
            if path is None:
                copy.write_bytes(source.data)
            else:
                shutil.copyfile(path, copy)
                for log in logs:
                    if log.is_file():
                        shutil.copyfile(log, copy.with_name(f"copy.db{log.name.removeprefix(path.name)}"))
            path, mode = copy, "rw"
        else:
            mode = "ro&immutable=1"
        from urllib.parse import quote

        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode={mode}", uri=True)) as base:
            base.text_factory = bytes
            yield from _tables(base, source)


def _tables(base: sqlite3.Connection, source: Source) -> Opened:
    made = base.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    yield Piece("sqlite", source.within("schema"), b"\n".join(sql or b"" for _, _, sql in made))
    for kind, named, sql in made:
        if kind != b"table":
            continue
        table = named.decode("utf-8", "replace")
        try:
            rows = base.execute(f'SELECT * FROM "{table.replace(chr(34), chr(34) * 2)}"')  # noqa: S608
        except sqlite3.Error:
            if not (sql or b"").upper().startswith(b"CREATE VIRTUAL"):  # the tables beneath a virtual one are read
                raise
            continue
        columns = [described[0] for described in rows.description]
        while batch := rows.fetchmany(ROWS):
            for column, values in zip(columns, zip(*batch, strict=True), strict=True):
                yield from _column(source, f"{table}.{column}", column, values)


def _column(source: Source, place: str, column: str, values: tuple[Any, ...]) -> Opened:
    import pyarrow as pa

    texts = [v for v in values if isinstance(v, bytes)]  # texts and blobs alike
    numbers = [v for v in values if isinstance(v, int)]
    if numbers:
        yield Piece("sqlite", source.within(place), pa.array(numbers, pa.int64()), field=column)
    if not texts:
        return
    yield Piece("sqlite", source.within(place), pa.array(texts, pa.binary()), field=column)
    for value in texts:
        if len(value) > 16 and sniffed(value) in OPENERS:
            yield from source.inner(value, place)


@dataclass(frozen=True)
class Words:
    """The words of one index of tantivy, which does not list them: it can be asked for them."""

    searcher: Any
    schema: Any
    fields: tuple[str, ...]

    def documents(self, text: str) -> int:
        """Documents in which every word of `text` stands, all of them in one field.

        Words are cut and stemmed in the ways that are usual: lower case, accents off, English stems, Chinese words.
        """
        import tantivy

        found = 0
        for words in _words(text):
            for field in self.fields:
                every = []
                for forms in words:
                    some = [(tantivy.Occur.Should, tantivy.Query.term_query(self.schema, field, w)) for w in forms]
                    every.append((tantivy.Occur.Must, tantivy.Query.boolean_query(some)))
                found = max(found, int(self.searcher.search(tantivy.Query.boolean_query(every), limit=1).count))
        return found


def _words(text: str) -> list[list[set[str]]]:
    """A text cut into words, in each of the ways in which Chinese is cut; each word in all forms it may be kept in."""
    import tantivy

    cuts = [re.findall(r"\w+", text), re.findall(r"[\u3400-\u9fff]+|[^\W\u3400-\u9fff]+", text)]
    with suppress(ImportError):
        import rjieba

        cuts.append(re.findall(r"\w+", " ".join(rjieba.cut(text))))
    folded = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).filter(tantivy.Filter.lowercase())
    stem = folded.filter(tantivy.Filter.ascii_fold()).filter(tantivy.Filter.stemmer("English")).build()
    distinct = [list(cut) for cut in dict.fromkeys(tuple(cut) for cut in cuts) if cut]
    return [[{text.strip()}], *([{word, word.lower(), *stem.analyze(word)} for word in cut] for cut in distinct)]


def _tantivy(source: Source) -> Opened:
    """Stored fields, and the words of the indexed ones, of the index that `meta.json` tells of; asked in a copy.

    What was deleted and not yet merged away stays in a segment, where only a merge removes it: that is told.
    """
    told = json.loads(bytes(source.data))
    if source.path is None:
        yield Unread(source.name, "tantivy", f"{_at(source.place)}an index in an archive cannot be asked", True)
        return
    import tantivy

    for segment in told["segments"]:
        if segment.get("deletes"):
            yield Unread(source.name, "tantivy", "deleted documents stay in a segment until it is merged", True)
    texts = [f["name"] for f in told["schema"] if f["type"] in ("text", "json_object") and f["options"].get("indexing")]
    with tempfile.TemporaryDirectory(prefix="opening-") as folder:
        for part in source.path.parent.iterdir():
            if part.is_file() and not part.name.endswith(".lock"):
                shutil.copyfile(part, Path(folder) / part.name)
        index = tantivy.Index.open(folder)
        searcher = index.searcher()
        yield Piece("tantivy", source.within("words"), Words(searcher, index.schema, tuple(texts)))
        if any(f["options"].get("stored") for f in told["schema"]):
            every = searcher.search(tantivy.Query.all_query(), limit=max(1, searcher.num_docs), count=False).hits
            for start in range(0, len(every), ROWS):
                some = [searcher.doc(address).to_dict() for _, address in every[start : start + ROWS]]
                stored = json.dumps(some, ensure_ascii=False, default=str)
                yield Piece("tantivy", source.within("stored fields"), stored.encode())


def _redis(source: Source) -> Opened:
    """A dump of Redis: strings that it compressed (LZF) are undone; all others lie unbroken in the bytes.

    https://rdb.fnordig.de/file_format.html: a compressed string is 0xC3, its length, the length of the text, its bytes.
    """
    found = []
    data = bytes(source.data)
    at = data.find(b"\xc3")
    while at >= 0:
        with suppress(ValueError, IndexError):
            packed, start = _length(data, at + 1)
            plain, start = _length(data, start)
            if 0 < packed < plain < 1 << 28 and start + packed <= len(data):
                found.append(lzf(data[start : start + packed], plain))
        at = data.find(b"\xc3", at + 1)
    for text in found:
        yield from source.inner(text, "compressed string")
    tail = data.find(b"*")  # an append-only file may begin as a dump: what follows it was searched as it lies
    if tail < 0 and not found:
        return


def _length(data: bytes, at: int) -> tuple[int, int]:
    """A length of Redis' dumps and the position after it; `ValueError` if it is none."""
    first = data[at]
    if first >> 6 == 0:
        return first & 63, at + 1
    if first >> 6 == 1:
        return (first & 63) << 8 | data[at + 1], at + 2
    if first == 0x80:
        return int(struct.unpack(">I", data[at + 1 : at + 5])[0]), at + 5
    raise ValueError


def lzf(packed: bytes, size: int) -> bytes:
    """LZF undone (Marc Lehmann's libLZF); `ValueError` unless it gives exactly `size` bytes."""
    made, at = bytearray(), 0
    while at < len(packed):
        control = packed[at]
        at += 1
        if control < 32:
            made += packed[at : at + control + 1]
            at += control + 1
            continue
        length = control >> 5
        if length == 7:
            length += packed[at]
            at += 1
        back = len(made) - ((control & 31) << 8 | packed[at]) - 1
        at += 1
        if back < 0:
            raise ValueError
        for step in range(length + 2):
            made.append(made[back + step])
        if len(made) > size:
            raise ValueError
    if len(made) != size:
        raise ValueError
    return bytes(made)


# Models, pictures and other texts -----------------------------------------------------------------------


def _safetensors(source: Source) -> Opened:
    """Names and metadata: the header is JSON, and stands in the bytes uncompressed; here its escapes are undone."""
    size = int.from_bytes(source.data[:8], "little")
    yield Piece(
        "safetensors",
        source.within("header"),
        json.dumps(json.loads(source.data[8 : 8 + size]), ensure_ascii=False).encode(),
    )


def _numpy(source: Source) -> Opened:
    """Arrays of text (four bytes a character) as UTF-8; of objects (pickles) only the bytes as they lie."""
    import numpy as np

    if len(source.data) < 1 << 12 or b"'descr': '<U" in source.data[:256] or b"'descr': '>U" in source.data[:256]:
        array = np.load(BytesIO(bytes(source.data)), allow_pickle=False, max_header_size=1 << 16)
        if array.dtype.kind == "U":
            yield Piece("numpy", source.within("values"), "\n".join(array.ravel().tolist()).encode("utf-8", "replace"))
        elif array.dtype.names:
            yield Piece("numpy", source.within("fields"), " ".join(array.dtype.names).encode())


def _png(source: Source) -> Opened:
    """Text chunks, the compressed ones too (PNG, ISO/IEC 15948: tEXt, zTXt, iTXt)."""
    data, at, found = bytes(source.data), 8, []
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + size]
        at += size + 12
        if kind == b"tEXt":
            found.append(body.replace(b"\x00", b"=").decode("latin-1").encode())
        elif kind == b"zTXt":
            key, _, rest = body.partition(b"\x00")
            found.append(key + b"=" + zlib.decompress(rest[1:]).decode("latin-1").encode())
        elif kind == b"iTXt":
            key, _, rest = body.partition(b"\x00")
            text = rest[2:].split(b"\x00", 2)[-1]
            found.append(key + b"=" + (zlib.decompress(text) if rest[:1] == b"\x01" else text))
        elif kind == b"eXIf":
            found.append(body)
    yield Piece("png", source.within("text chunks"), b"\n".join(found))


def _recoded(source: Source) -> Opened:
    """Text in another encoding than UTF-8."""
    form = sniffed(source.data, source.name)
    data = bytes(source.data)
    if form == "utf-16":
        big = data[:2] == b"\xfe\xff" or (data[:2] != b"\xff\xfe" and data[:1] == b"\x00")
        text = data.decode("utf-16-be" if big else "utf-16-le", "replace")
    else:
        text = data.decode(form, "replace")
    plain = text.lstrip("\ufeff").encode("utf-8", "replace")
    for piece in chunks(plain, _text(plain[: 1 << 16]) or "text", source.within(form), decoded=True):
        yield replace(piece, format=form)


OPENERS = {
    "parquet": _parquet,
    "arrow": _arrow,
    "arrow stream": _arrow,
    "gzip": _unpacked,
    "bzip2": _unpacked,
    "zstd": _unpacked,
    "xz": _unpacked,
    "lz4": _unpacked,
    "zlib": _unpacked,
    "zip": _zip,
    "tar": _tar,
    "sqlite": _sqlite,
    "redis dump": _redis,
    "safetensors": _safetensors,
    "numpy": _numpy,
    "png": _png,
    "utf-16": _recoded,
    "gb18030": _recoded,
}
