"""The dictionary says what the declarations say. `python tests/jobs/test_dictionary.py` renews docs/dictionary.md."""

import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from jobs import dictionary
from jobs.tables import DELIVERED, LINKS, ZONES, made_of, rests_on, table, tables
from jobs.warehouse import warehouse

PAGE = Path(__file__).resolve().parents[2] / "docs" / "dictionary.md"
KNOWN = {"known_time": datetime(2017, 1, 1, tzinfo=UTC), "simulated": False}


class Reader(HTMLParser):
    """Open tags are closed, ids stand once, and what the page would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        given = dict(attrs)
        self.ids += [given["id"] or ""] if "id" in given else []
        self.targets += [(given["href"] or "").removeprefix("#")] if "href" in given else []
        self.outside += [tag] if tag in ("script", "link", "img", "iframe") or "src" in given else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def test_the_document_is_the_dictionary() -> None:
    assert PAGE.read_text(encoding="utf-8") == dictionary.markdown(), "renew it: python tests/jobs/test_dictionary.py"


def test_every_table_and_column_is_there() -> None:
    text = dictionary.markdown()
    for zone in ZONES:
        for declared in dictionary.shown(zone):
            section = text.split(f"\n### {dictionary.name_of(zone, declared)}\n")[1].split("\n### ")[0]
            assert all(f"| {c.name} | {c.kind} |" in section and c.doc in section for c in declared.columns)
            assert declared.doc in section
    assert all(each.name in text for each in tables("quarantine"))


def test_what_a_column_tells_of_a_person_is_said() -> None:
    lines = dictionary.markdown().split("### clean/visitors")[1].split("###")[0].splitlines()
    assert "| email | string | may be | direct identifier | e-mail address |" in lines
    assert "| visitor_id | string | never | who the visitor is | the shop's own id of the visitor |" in lines
    safe = dictionary.markdown().split("### safe/visitors")[1].split("###")[0]
    assert "direct identifier" not in safe and "quasi-identifier" in safe


def test_expectations_stand_at_the_tables_they_are_about() -> None:
    said = list(dictionary.expected("interactions"))
    assert "unique by interaction_id" in said
    assert "about as many rows as on this weekday in the weeks before (warns)" in said
    assert sum(each.startswith("ranking_id is among the rankings") for each in said) == 1
    assert "expected" not in dict(dictionary.about("clean", table("clean", "items")))


def test_sources_are_those_that_the_steps_read() -> None:
    from jobs import aggregating, anonymising, cleaning

    assert all(aggregating.RESTS_ON[t.name] == rests_on(t.name) for t in tables("stats"))
    scrubbed = {name for name in DELIVERED if "clean/visitors" in made_of("safe", name) and name != "visitors"}
    assert scrubbed == set(anonymising.FREE)
    for name in DELIVERED:
        owners = {owner for column, owner in cleaning.OWNERS.items() if column in table("clean", name).names} - {name}
        asked = {f"clean/{each}" for owner in owners for each in (owner, LINKS[owner])}
        behaved = {"raw/searches", "raw/interactions"} if table("clean", name).dated and "visitors" in owners else set()
        assert set(made_of("clean", name)) == {f"raw/{name}"} | asked | behaved
    assert made_of("clean", "item_links") == ("raw/items",)
    for zone in ZONES:
        for each in tables(zone):
            for source in made_of(zone, each.name):
                table(*source.split("/"))  # exists


def test_the_page_is_whole_needs_nothing_and_leads_somewhere() -> None:
    reader = read(dictionary.html(None))
    assert reader.outside == []
    assert len(reader.ids) == len(set(reader.ids))
    assert set(reader.targets) <= set(reader.ids)
    assert not re.search(r"https?://", dictionary.html(None))


def test_a_shop_adds_its_figures(put: Callable[..., Any], home: Path) -> None:
    put("toy", "safe", "items", [{"item_id": str(n), "title": "t", **KNOWN} for n in range(1200)])
    for day in ("2017-01-01", "2017-01-02"):
        put("toy", "stats", "item_stats", [], day)
    refused = {"step": "clean", "reason": "missing", "row": "{}", "source_file": "f", "source_row": 1}
    put("toy", "quarantine", "clean.items", [{**refused, "day": date(2017, 1, 1), **KNOWN}])
    done = subprocess.run(
        [sys.executable, "-m", "jobs", "dictionary", "--shop", "toy"], capture_output=True, text=True, check=False
    )
    path = home / "toy" / "docs" / "dictionary.html"
    assert (done.returncode, done.stdout.strip()) == (0, str(path)), done.stderr
    page = path.read_text()
    read(page)
    assert "<dt>toy</dt><dd>1,200 rows</dd>" in page
    assert "<dt>toy</dt><dd>2 days from 2017-01-01 to 2017-01-02, 0 rows</dd>" in page
    assert "<dt>toy</dt><dd>1 clean.items</dd>" in page
    assert "<dt>toy</dt><dd>nothing</dd>" in page
    assert dictionary.html(warehouse("toy")) == page


def test_without_a_shop_it_lies_in_the_home_and_that_is_no_shop(home: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "jobs", "dictionary"], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(home / "docs" / "dictionary.html"), done.stderr
    reset = subprocess.run(
        [sys.executable, "-m", "jobs", "reset", "--shop", "docs", "--yes"], capture_output=True, text=True, check=False
    )
    assert reset.returncode == 2 and (home / "docs" / "dictionary.html").is_file()
    with pytest.raises(Exception, match="has no home"):
        warehouse("docs")


if __name__ == "__main__":
    PAGE.write_text(dictionary.markdown(), encoding="utf-8")
