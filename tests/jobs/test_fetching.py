"""Files that lie elsewhere: landed whole, only where they changed. S3 is spoken for real, to a small store."""

import hashlib
import re
import shutil
import threading
import traceback
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest

from jobs import fetching
from jobs.console import Problem, Usage
from jobs.warehouse import warehouse
from tests.imports import load

MAPPING = '[items]\nfiles = "items*.csv"\ncolumns = { item_id = "sku", title = "name" }\n'


class Store(ThreadingHTTPServer):
    """A store that speaks S3's list, head and get: objects in memory, and what was asked of it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {}
        self.read: list[str] = []

    @property
    def address(self) -> str:
        port = self.server_address[1]
        return f"s3://key:secret@shop/raw?scheme=http&endpoint_override=127.0.0.1:{port}&region=eu-west-1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Store

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        name = unquote(parts.path).removeprefix("/shop").lstrip("/")
        if name == "":
            self.answer(200, self.listing(parse_qs(parts.query)), "application/xml")
        elif name in self.server.objects:
            self.server.read.append(name)
            self.answer_part(self.server.objects[name])
        else:
            self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>", "application/xml")

    do_HEAD = do_GET

    def listing(self, query: dict[str, list[str]]) -> bytes:
        prefix = query.get("prefix", [""])[0]
        names = sorted(name for name in self.server.objects if name.startswith(prefix))
        rows = "".join(
            f"<Contents><Key>{escape(n)}</Key><Size>{len(self.server.objects[n])}</Size>"
            f"<ETag>&quot;{tag(self, n)}&quot;</ETag><LastModified>2024-01-01T00:00:00.000Z</LastModified></Contents>"
            for n in names
        )
        head = f"<Name>shop</Name><KeyCount>{len(names)}</KeyCount><IsTruncated>false</IsTruncated>"
        return f"<ListBucketResult>{head}{rows}</ListBucketResult>".encode()

    def answer_part(self, body: bytes) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            return self.answer(200, body, "text/csv")
        first, last = int(asked[1]), min(int(asked[2] or len(body)), len(body) - 1)
        return self.answer(
            206, body[first : last + 1], "text/csv", {"Content-Range": f"bytes {first}-{last}/{len(body)}"}
        )

    def answer(self, status: int, body: bytes, kind: str, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        name = unquote(urlsplit(self.path).path).removeprefix("/shop").lstrip("/")
        tagged = {"ETag": f'"{tag(self, name)}"'} if name in self.server.objects else {}
        for key, value in {"Content-Length": str(len(body)), "Content-Type": kind, **tagged,
                           "Last-Modified": formatdate(1704067200, usegmt=True), **(more or {})}.items():  # fmt: skip
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


def tag(handler: Handler, name: str) -> str:
    return hashlib.md5(handler.server.objects[name]).hexdigest()


@pytest.fixture
def store() -> Iterator[Store]:
    """A store with a mapping and two files."""
    with Store() as live:
        live.objects = {
            "raw/endcap.toml": MAPPING.encode(),
            "raw/items-1.csv": b"sku,name\n1,Tea\n",
            "raw/more/items-9.csv": b"sku,name\n9,Not in the pattern\n",
            "other/items-2.csv": b"sku,name\n2,Elsewhere\n",
        }
        thread = threading.Thread(target=live.serve_forever, daemon=True)
        thread.start()
        yield live
        live.shutdown()
        thread.join()


def titles() -> list[str]:
    return warehouse("files").read("raw", "items")["title"].to_pylist()  # type: ignore[no-any-return]


def test_a_shop_in_a_store_is_landed_and_imported_and_only_what_changed_is_read_again(home: Path, store: Store) -> None:
    load(store.address)
    assert titles() == ["Tea"]
    assert {"raw/items-1.csv", "raw/endcap.toml"} <= set(store.read)
    folder = next((home / "files" / "landed").glob("*/"))
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == [
        "endcap.toml", "items-1.csv", "more/items-9.csv",
    ]  # fmt: skip
    inode = (folder / "endcap.toml").stat().st_ino
    store.objects["raw/items-1.csv"] = b"sku,name\n1,Cup\n"  # as long, at the same second
    load(store.address)
    assert titles() == ["Cup"]
    assert (folder / "endcap.toml").stat().st_ino == inode
    store.objects["raw/items-3.csv"] = store.objects.pop("raw/items-1.csv").replace(b"Cup", b"Pot")
    load(store.address)
    assert titles() == ["Pot"]
    assert not (folder / "items-1.csv").exists()


def test_a_store_that_changes_while_it_is_read_stops_the_import(
    home: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = fetching.fetch

    def changing(*given: Any) -> None:
        fetch(*given)
        store.objects["raw/items-2.csv"] = b"sku,name\n2,Half"

    monkeypatch.setattr(fetching, "fetch", changing)
    with pytest.raises(Problem, match="changed while it was read"):
        load(store.address)
    assert not warehouse("files", must_exist=False).days("raw", "items")


def test_an_empty_store_and_an_unknown_one_are_told_without_their_keys(home: Path, store: Store) -> None:
    store.objects = {}
    with pytest.raises(Problem) as caught:
        load(store.address)
    assert "secret" not in str(caught.value)
    assert "s3://shop/raw" in str(caught.value)
    with pytest.raises(Usage, match="no store is called 'ftp://'"):
        load("ftp://shop/raw")


def test_a_local_folder_by_its_address_is_landed_too(home: Path, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "endcap.toml").write_text(MAPPING)
    (shop / "items.csv").write_text("sku,name\n1,Tea\n")
    load(shop.as_uri())
    assert titles() == ["Tea"]
    with pytest.raises(Problem, match="the store cannot be read"):
        load((tmp_path / "nowhere").as_uri())


def test_half_a_file_of_a_killed_run_is_gone_and_never_bears_its_name(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "items.csv").write_text("sku,name\n1,Tea\n")
    (shop / "endcap.toml").write_text(MAPPING)
    with monkeypatch.context() as broken:
        broken.setattr(fetching.os, "fsync", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            load(shop.as_uri())
    folder = next((home / "files" / "landed").glob("*/"))
    assert list(folder.iterdir()) == []
    (folder / ".items.csv.half").write_text("sku,na")
    load(shop.as_uri())
    assert sorted(path.name for path in folder.iterdir()) == ["endcap.toml", "items.csv"]


@pytest.mark.parametrize("key", ["abc/DEF+secret", "abc?DEF#secret", "abc%2FDEF secret", "abc@DEF/secret"])
def test_no_key_is_printed_whatever_signs_it_has(
    home: Path, key: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"s3://AKIAEXAMPLE:{key}@shop/raw?region=x"
    assert fetching.shown(address) == "s3://shop/raw"

    def opened(given: str) -> None:  # what Arrow says quotes an address as it came, or as far as it could be read
        raise OSError(f"Cannot parse {given}: no host '{unquote(given).partition('://')[2].split('/')[0]}'")

    monkeypatch.setattr(fetching, "opened", opened)
    with pytest.raises(Problem) as caught:
        load(address, check=True)
    told = f"{''.join(traceback.format_exception(caught.value, chain=True))} {caught.value} {capsys.readouterr()}"
    assert "s3://shop/raw" in told
    assert not [piece for piece in ("AKIA", "abc", "DEF", "secret") if piece in told]


def test_a_landed_shop_is_called_by_its_address(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "items.csv").write_text("sku,name\n1,Tea\n")
    address = shop.as_uri()
    assert load(address, check=True) == 0
    told = capsys.readouterr().err
    assert f"no endcap.toml in {address}." in told
    assert "upload it there" in told
    (shop / "endcap.toml").write_text(MAPPING.replace('"sku"', '"sku2"'))
    assert load(address, check=True) == 2
    assert f"mend {address}/endcap.toml, upload it there" in capsys.readouterr().out
    with pytest.raises(Usage) as caught:
        load(address)
    assert caught.value.where == f"{address}/endcap.toml"
    assert f"--from {address} --check" in caught.value.do
    (shop / "endcap.toml").write_text(MAPPING)
    assert load(address, check=True) == 0
    assert f"--from {address}\n" in capsys.readouterr().out
    (shop / "items.csv").write_text("")
    with pytest.raises(Problem) as empty:
        load(address)
    assert empty.value.where == f"{address}/items.csv"


def test_no_empty_folder_stays_and_a_folder_may_become_a_file(home: Path, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    (shop / "items.csv").mkdir(parents=True)
    (shop / "test" / "deep").mkdir(parents=True)
    (shop / "endcap.toml").write_text(MAPPING.replace("items*.csv", "items.csv/*.csv"))
    for name in ("items.csv/part.csv", "test/deep/items.csv"):
        (shop / name).write_text("sku,name\n1,Tea\n")
    fetching.landed("files", shop.as_uri())
    shutil.rmtree(shop / "items.csv")
    shutil.rmtree(shop / "test")
    (shop / "items.csv").write_text("sku,name\n1,Cup\n")
    (shop / "endcap.toml").write_text(MAPPING)
    load(shop.as_uri())
    assert titles() == ["Cup"]
    folder = next((home / "files" / "landed").glob("*/"))
    assert sorted(path.name for path in folder.rglob("*")) == ["endcap.toml", "items.csv"]
