"""The generated shop `sample`: a bilingual catalogue, visitors with tastes and habits, and all that they do.

Visitors come in blocks of 100, each with a seed of its own, written as it is made: so any size needs the memory of one
block a process, and the same seed gives the same bytes however many processes there are. Up to scale 10 the files are
text, with planted faults; above it Parquet, without. What is true is written to `truth/`, for evaluation only.
"""

import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from jobs.console import narrate, say
from jobs.simulator import people
from jobs.simulator.faults import Line, Row, plant
from jobs.simulator.ranking import SHOWN, Floats, Ints, click, show, stamp, truth
from jobs.simulator.shop_words import ATTRIBUTES, BRANDS, CLUSTERS, KINDS
from jobs.warehouse import write_atomically

FIRST = int(datetime(2017, 8, 14, tzinfo=UTC).timestamp()) * 1_000_000
DAYS, BLOCK = 140, 100
DAY = 86_400_000_000  # microseconds
ITEMS_A_KIND, HABITS, QUERIES_A_KIND = 10, 4, 4
SEARCHES_A_VISITOR, REVIEWS_A_VISITOR, TICKETS_A_VISITOR = 13, 4, 1.7
TEXT_UP_TO = 10.0  # scale
CSV = ("items", "visitors", "offers", "judgements")
ATTRACTION = (0.02, 0.12, 0.35, 0.65)
LANGUAGES = ("en", "zh")


@dataclass(frozen=True)
class Query:
    """What is asked for: words, and the concept behind them; attribute -1 is none."""

    words: str
    kind: int
    language: int
    attribute: int


@dataclass(frozen=True)
class World:
    """What all blocks share; a function of the seed."""

    items: list[Row]
    kind: Ints
    language: Ints
    attribute: Ints
    price: Floats
    appeal: Floats  # how well each sells
    taste: Floats  # (languages, families of taste, items): how such visitors spread what they buy
    queries: list[Query]
    relevance: Ints  # (queries, items), 0..3
    base: Ints  # (queries, weeks, 10): the ranking before the policy shuffles


def generate(home: Path, *, scale: float, seed: int) -> None:
    """Write `home`/source and `home`/truth, unless they are there already for this seed and scale."""
    mark, key = home / "source" / "simulated.json", {"seed": seed, "scale": scale, "simulator": _version()}
    if mark.is_file() and json.loads(mark.read_text()) == key:
        say("the generated files are there already, made by the same simulator from the same seed and scale")
        return
    for folder in (home / "source", home / "truth"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    visitors = max(3, round(300 * scale))
    blocks = [(str(home), seed, scale, n, min(BLOCK, visitors - n * BLOCK)) for n in range(-(-visitors // BLOCK))]
    with narrate(f"generate {visitors:,} visitors in {len(blocks)} blocks"):
        faults = shared(home, seed, scale)
        workers = min(os.cpu_count() or 1, len(blocks) // 8)
        if workers > 1:  # below that, starting processes costs more than it saves
            with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
                faults += [fault for found in pool.map(block, blocks) for fault in found]
        else:
            faults += [fault for given in blocks for fault in block(given)]
        write_atomically(home / "truth" / "faults.json", json.dumps(faults, indent=1, ensure_ascii=False) + "\n")
        known = {"seed": seed, "scale": scale, **truth(), "attraction": list(ATTRACTION)}
        write_atomically(home / "truth" / "truth.json", json.dumps(known, indent=1) + "\n")
    write_atomically(mark, json.dumps(key, sort_keys=True) + "\n")


def _version() -> str:
    """A hash of the simulator's own text: changed code makes the files again."""
    return hashlib.sha256(b"".join(p.read_bytes() for p in sorted(Path(__file__).parent.glob("*.py")))).hexdigest()[:16]


def clock(micros: int) -> str:
    """A time as text, UTC, to the second."""
    return datetime.fromtimestamp(micros // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# What all share ---------------------------------------------------------------------------------


@cache
def world(seed: int) -> World:
    """The catalogue, the queries and their true relevance."""
    rng = np.random.default_rng([seed, 1])
    items: list[Row] = []
    kinds, languages, attributes, prices = [], [], [], []
    for of, made in enumerate(KINDS):
        for n in range(ITEMS_A_KIND):
            tongue, quality = n % 2, int(rng.integers(3))
            brand = people.pick(rng, BRANDS[tongue])
            size = made.sizes[int(rng.integers(3))]
            word = ATTRIBUTES[made.attributes][quality][2 * tongue]
            noun = (made.english, made.chinese)[tongue][0]
            price = round(made.price * float(rng.uniform(0.6, 1.8)) + 0.01, 2)
            title = f"{brand} {word} {noun}, {size}" if tongue == 0 else f"{brand}{word}{noun} {size}"
            about = f"{noun} by {brand}.\n{word}, {size}." if tongue == 0 else f"{brand}出品。\n{word}，规格 {size}。"
            items.append(
                {
                    "item_id": f"i{len(items) + 1:04d}",
                    "title": title,
                    "description": about,
                    "brand": brand,
                    "category": made.category,
                    "department": made.department,
                    "size": size,
                    "price": f"{price:.2f}",
                    "currency": "USD",
                }
            )
            kinds.append(of)
            languages.append(tongue)
            attributes.append(quality)
            prices.append(price)
    kind, language, attribute = np.array(kinds), np.array(languages), np.array(attributes)
    appeal = rng.lognormal(0, 0.8, len(items))
    queries = [query for k in range(len(KINDS)) for own in (0, 1) for query in asked(rng, k, own)]
    relevance = np.stack([grades(q, kind, language, attribute) for q in queries])
    score = relevance[:, None, :] + np.log(appeal) * 0.3 + rng.gumbel(0, 0.6, (len(queries), DAYS // 7, len(items)))
    base = np.argsort(-score, axis=2, kind="stable")[:, :, :SHOWN]
    liked = np.stack([np.isin(kind, c) for c in CLUSTERS]) * appeal
    taste = np.stack([liked * np.where(language == own, 4.0, 1.0) for own in (0, 1)])
    taste /= taste.sum(axis=2, keepdims=True)
    return World(items, kind, language, attribute, np.array(prices), appeal, taste, queries, relevance, base)


def asked(rng: np.random.Generator, kind: int, language: int) -> list[Query]:
    """Four queries for a kind: the title's noun, two other nouns (one with another word for an attribute), and both
    attribute and noun in words that no title holds."""
    made = KINDS[kind]
    nouns = (made.english, made.chinese)[language]
    words = ATTRIBUTES[made.attributes]
    join = " " if language == 0 else ""
    one, two = rng.integers(0, 3, 2)
    return [
        Query(nouns[0].lower(), kind, language, -1),
        Query(nouns[1], kind, language, -1),
        Query(f"{words[one][2 * language].lower()}{join}{nouns[2]}", kind, language, int(one)),
        Query(f"{words[two][2 * language + 1]}{join}{nouns[1]}", kind, language, int(two)),
    ]


def grades(query: Query, kind: Ints, language: Ints, attribute: Ints) -> Ints:
    """True relevance of every item: 3 the kind, in the language, with the attribute if one is asked; 2 with another
    attribute; 1 the kind in the other language, or another kind of the category; else 0."""
    same, own = kind == query.kind, language == query.language
    fits = (attribute == query.attribute) | (query.attribute < 0)
    category = np.array([made.category == KINDS[query.kind].category for made in KINDS])[kind]
    return np.select([same & own & fits, same & own, same | (category & own)], [3, 2, 1], 0).astype(np.int64)


def shared(home: Path, seed: int, scale: float) -> list[Row]:
    """Items, offers, promotions, judgements and their truth."""
    rng, all_ = np.random.default_rng([seed, 2]), world(seed)
    ids = [row["item_id"] for row in all_.items]
    offers = [
        {
            "offer_id": f"o{n:03d}",
            "item_id": ids[int(item)],
            "campaign_id": f"c{n % 10}",
            "kind": "coupon",
            "first_day": str(np.datetime64("2017-08-14") + 14 * (n % 10)),
            "last_day": str(np.datetime64("2017-08-27") + 14 * (n % 10)),
        }
        for n, item in enumerate(rng.choice(len(ids), 100, replace=False))
    ]
    places = [(week, item) for week in range(DAYS // 7) for item in rng.choice(len(ids), 30, replace=False)]
    promotions = [
        {
            "event_time": clock(FIRST + week * 7 * DAY),
            "item_id": ids[int(item)],
            "store_id": f"st{n % 3}",
            "display": str(n % 5),
            "mailer": "AD"[n % 2],
        }
        for n, (week, item) in enumerate(places)
    ]
    judged = [
        n
        for n, q in enumerate(all_.queries)
        if n % QUERIES_A_KIND == 1 or (n % QUERIES_A_KIND == 3 and q.kind % 2 == 0)
    ]
    judgements = []
    for n in judged:
        for true, most in ((3, 20), (2, 20), (1, 6), (0, 4)):
            of = np.flatnonzero(all_.relevance[n] == true)
            for item in np.sort(rng.choice(of, min(most, len(of)), replace=False)):
                for rater in ("rater-1", "rater-2"):
                    slip = int(rng.choice([-1, 1])) if rng.random() < 0.08 else 0
                    judgements.append(
                        {
                            "query": all_.queries[n].words,
                            "item_id": ids[int(item)],
                            "rater": rater,
                            "grade": str(min(3, max(0, true + slip))),
                        }
                    )
    made = {"items": all_.items, "offers": offers, "promotions": promotions, "judgements": judgements}
    _parquet(
        home / "truth" / "relevance.parquet",
        [
            {"query": all_.queries[q].words, "item_id": ids[i], "grade": int(all_.relevance[q, i])}
            for q, i in zip(*np.nonzero(all_.relevance), strict=True)
        ],
    )
    return [fault for name, rows in made.items() for fault in write(home, rng, name, 0, rows, scale)[0]]


# A block of visitors ------------------------------------------------------------------------------


def block(given: tuple[str, int, float, int, int]) -> list[Row]:
    """Make and write one block of visitors and all that they do; returns its planted faults."""
    folder, seed, scale, number, count = given
    home, all_, rng = Path(folder), world(seed), np.random.default_rng([seed, 3, number])
    language = rng.integers(0, 2, count)
    cluster = rng.integers(0, len(CLUSTERS), count)
    who = [people.person(rng, LANGUAGES[own]) for own in language]
    ids = [f"p{number * BLOCK + n + 1:06d}" for n in range(count)]
    planted: list[Row] = []
    rows = {"visitors": visitors(rng, ids, who, planted)}
    habits = choose_habits(rng, all_, language, cluster)
    bought = purchases(rng, all_, number, ids, language, cluster, habits)
    rows |= searches(rng, all_, number, ids, who, language, cluster, habits, planted)
    rows["interactions"] = sorted([*bought, *rows["interactions"]], key=lambda row: str(row["event_time"]))
    rows["reviews"] = reviews(rng, number, bought, dict(zip(ids, who, strict=True)), planted)
    rows["tickets"] = tickets(rng, number, ids, who, planted)
    rows["offer_events"] = offer_events(rng, number, ids)
    faults: list[Row] = []
    for name, made in rows.items():
        found, places = write(home, rng, name, number, made, scale)
        faults += found
        for value in planted:
            if value["table"] == name:
                value |= {"file": f"{name}-{number:05d}.{_ending(name, scale)}", "row": places[value["id"]]}
    _parquet(home / "truth" / f"planted-{number:05d}.parquet", planted)
    _parquet(
        home / "truth" / f"visitors-{number:05d}.parquet",
        [
            {
                "visitor_id": ids[v],
                "language": LANGUAGES[language[v]],
                "cluster": int(cluster[v]),
                "habits": [all_.items[i]["item_id"] for i in habits[0][v]],
                "every_days": habits[1][v].tolist(),
            }
            for v in range(count)
        ],
    )
    return faults


def _note(planted: list[Row], table: str, id: str, column: str, found: Iterable[people.Planted]) -> None:
    planted += [
        {"table": table, "id": id, "column": column, "kind": p.kind, "value": p.value, "start": p.start, "end": p.end}
        for p in found
    ]


def visitors(rng: np.random.Generator, ids: list[str], who: list[people.Person], planted: list[Row]) -> list[Row]:
    """People, with direct identifiers and quasi-identifiers."""
    rows = []
    for id, one in zip(ids, who, strict=True):
        zh = one.language == "zh"
        postcode = people.pick(
            rng, ("100010", "200030", "518000", "310012") if zh else ("10001", "10002", "60614", "94103", "94110")
        )
        rows.append(
            {
                "visitor_id": id,
                "name": one.name,
                "email": one.email,
                "phone": one.phone,
                "address": one.address,
                "postcode": postcode,
                "age": people.pick(rng, ("19-24", "25-34", "35-44", "45-54", "55-64", "65+")),
                "income": people.pick(rng, ("Under 25K", "25-49K", "50-74K", "75-99K", "100K+")),
                "home_ownership": people.pick(rng, ("Homeowner", "Renter")),
                "marital_status": people.pick(rng, ("Married", "Unmarried")),
                "household_size": str(int(rng.integers(1, 6))),
                "kids": str(int(rng.integers(0, 4))),
            }
        )
        for column in ("name", "email", "phone", "address"):
            value = str(rows[-1][column])
            _note(planted, "visitors", id, column, [people.Planted(column, value, 0, len(value))])
    return rows


def choose_habits(rng: np.random.Generator, all_: World, language: Ints, cluster: Ints) -> tuple[Ints, Floats]:
    """For each visitor, the items bought again and again, and every how many days."""
    items = np.empty((len(language), HABITS), dtype=np.int64)
    for v in range(len(language)):
        items[v] = rng.choice(len(all_.items), HABITS, replace=False, p=all_.taste[language[v], cluster[v]])
    return items, np.round(rng.uniform(6, 40, items.shape), 1)


def purchases(
    rng: np.random.Generator,
    all_: World,
    number: int,
    ids: list[str],
    language: Ints,
    cluster: Ints,
    habits: tuple[Ints, Floats],
) -> list[Row]:
    """Habits come back after an interval of their own, with some noise; a basket of a day also holds finds of taste."""
    items, every = habits
    gaps = rng.gamma(16, every[:, :, None] / 16, (*items.shape, 2 * DAYS // 6))
    when = rng.uniform(0, every)[:, :, None] + np.cumsum(gaps, axis=2) - gaps
    visitor, slot, turn = np.nonzero(when < DAYS)
    pairs = {(int(v), int(items[v, s]), int(when[v, s, t])) for v, s, t in zip(visitor, slot, turn, strict=True)}
    days = sorted({(v, day) for v, _, day in pairs})
    spread = np.cumsum(all_.taste, axis=2) / all_.taste.sum(axis=2, keepdims=True)
    for v, day in days:
        finds = rng.random(int(rng.poisson(0.5)))
        for item in np.searchsorted(spread[language[v], cluster[v]], finds):
            pairs.add((v, int(item), day))
    time = {basket: int(rng.integers(8 * 3600, 21 * 3600)) for basket in days}
    rows = []
    for n, (v, item, day) in enumerate(sorted(pairs)):
        quantity = 1 + int(rng.random() < 0.2)
        at = FIRST + day * DAY + time[v, day] * 1_000_000
        rows.append(
            {
                "interaction_id": f"b{number:05d}-{n:06d}",
                "event_time": clock(at),
                "visitor_id": ids[v],
                "item_id": all_.items[item]["item_id"],
                "kind": "purchase",
                "quantity": quantity,
                "amount": round(float(all_.price[item]) * quantity, 2),
                "channel": "store" if v % 3 else "web",
                "store_id": f"st{v % 3}",
                "basket_id": f"b{number:05d}-{v:03d}-{day:03d}",
            }
        )
    return rows


def searches(
    rng: np.random.Generator,
    all_: World,
    number: int,
    ids: list[str],
    who: list[people.Person],
    language: Ints,
    cluster: Ints,
    habits: tuple[Ints, Floats],
    planted: list[Row],
) -> dict[str, list[Row]]:
    """Searches, the rankings that answer them, and clicks, dwells, carts and purchases on these."""
    count = SEARCHES_A_VISITOR * len(ids)
    visitor = np.sort(rng.integers(0, len(ids), count))
    own = np.array([rng.choice(CLUSTERS[c]) for c in cluster[visitor]])
    kind = np.where(rng.random(count) < 0.6, own, rng.integers(0, len(KINDS), count))
    query = (kind * 2 + language[visitor]) * QUERIES_A_KIND + rng.choice(QUERIES_A_KIND, count, p=[0.3, 0.3, 0.2, 0.2])
    day = rng.integers(0, DAYS, count)
    micros = FIRST + day * DAY + rng.integers(7 * 3600, 22 * 3600, count) * 1_000_000
    order = np.lexsort((visitor, micros))
    visitor, query, day, micros = visitor[order], query[order], day[order], micros[order]
    shown, propensity = show(rng, all_.base[query, day // 7])
    seen = np.take_along_axis(all_.relevance[query], shown, 1)
    clicked = click(rng, seen, ATTRACTION)
    times = stamp(micros)
    made: dict[str, list[Row]] = {"searches": [], "rankings": [], "interactions": []}
    for n in range(count):
        id, of = f"{number:05d}-{n:06d}", int(visitor[n])
        words = all_.queries[query[n]].words
        if rng.random() < 0.01:  # people paste what they should not
            words, found = people.fill(rng, people.pick(rng, people.PERSONAL_QUERIES[who[of].language]), who[of])
            _note(planted, "searches", f"s{id}", "query", found)
        elif rng.random() < 0.06:  # the tail: queries that hardly two visitors make
            words = f"{words} {people.pick(rng, BRANDS[language[of]])} {int(rng.integers(1, 500))}"
        channel = ("web", "app", "social")[int(rng.choice(3, p=[0.55, 0.4, 0.05]))]
        common = {"event_time": times[n], "visitor_id": ids[of]}
        made["searches"].append(
            {"search_id": f"s{id}", **common, "session_id": f"v{id}", "channel": channel, "query": words}
        )
        for k in range(SHOWN):
            item = all_.items[shown[n, k]]["item_id"]
            made["rankings"].append(
                {
                    "ranking_id": f"r{id}",
                    **common,
                    "search_id": f"s{id}",
                    "surface": "search",
                    "item_id": item,
                    "position": k + 1,
                    "propensity": round(float(propensity[n, k]), 4),
                }
            )
            if clicked[n, k]:
                made["interactions"] += follow(
                    rng,
                    f"{id}-{k}",
                    int(micros[n]),
                    ids[of],
                    item,
                    int(seen[n, k]),
                    float(all_.price[shown[n, k]]),
                    channel,
                )
    return made


def follow(
    rng: np.random.Generator, id: str, micros: int, visitor: str, item: str, grade: int, price: float, channel: str
) -> list[Row]:
    """A click, how long was looked, and perhaps a cart and a purchase."""

    def row(kind: str, after: int, **more: Any) -> Row:
        time = clock(micros + after * 1_000_000)
        return {
            "interaction_id": f"{kind}-{id}",
            "event_time": time,
            "visitor_id": visitor,
            "item_id": item,
            "kind": kind,
            "ranking_id": f"r{id.rsplit('-', 1)[0]}",
            "channel": channel,
            **more,
        }

    rows = [row("click", 5), row("dwell", 6, dwell_seconds=round(float(rng.lognormal(2 + grade * 0.5, 0.6)), 1))]
    if rng.random() < 0.1 * grade:
        rows.append(row("cart", 60))
        if rng.random() < 0.5:
            rows.append(row("purchase", 300, quantity=1, amount=round(price, 2), basket_id=f"w{id}"))
    return rows


def reviews(
    rng: np.random.Generator, number: int, bought: list[Row], who: dict[str, people.Person], planted: list[Row]
) -> list[Row]:
    """Reviews of purchases, in the language of the one who writes."""
    rows = []
    count = min(len(bought), REVIEWS_A_VISITOR * len(who))
    for n, of in enumerate(np.sort(rng.choice(len(bought), count, replace=False))):
        row, id = bought[int(of)], f"e{number:05d}-{n:05d}"
        author, stars = who[row["visitor_id"]], int(rng.choice([1, 2, 3, 4, 5], p=[0.08, 0.08, 0.16, 0.33, 0.35]))
        text, found = people.fill(rng, people.pick(rng, people.REVIEWS[author.language][stars]), author)
        _note(planted, "reviews", id, "text", found)
        rows.append(
            {
                "review_id": id,
                "event_time": row["event_time"],
                "visitor_id": row["visitor_id"],
                "item_id": row["item_id"],
                "rating": stars,
                "text": text,
            }
        )
    return rows


def tickets(
    rng: np.random.Generator, number: int, ids: list[str], who: list[people.Person], planted: list[Row]
) -> list[Row]:
    """Tickets to support, most with personal data."""
    rows = []
    for n in range(round(TICKETS_A_VISITOR * len(ids))):
        id, of = f"t{number:05d}-{n:05d}", int(rng.integers(len(ids)))
        choices = people.TICKETS[who[of].language]
        topic, template = choices[int(rng.integers(len(choices)))]
        text, found = people.fill(rng, template, who[of])
        _note(planted, "tickets", id, "text", found)
        at = FIRST + int(rng.integers(0, DAYS)) * DAY + int(rng.integers(0, 86_000)) * 1_000_000
        rows.append({"ticket_id": id, "event_time": clock(at), "visitor_id": ids[of], "topic": topic, "text": text})
    return rows


def offer_events(rng: np.random.Generator, number: int, ids: list[str]) -> list[Row]:
    """Campaigns sent to a third of the visitors; one coupon in ten of them redeemed within two weeks."""
    rows = []
    for campaign in range(10):
        start = FIRST + campaign * 14 * DAY
        for of in np.flatnonzero(rng.random(len(ids)) < 0.33):
            id = f"{number:05d}-{campaign}-{of:03d}"
            common = {"visitor_id": ids[of], "campaign_id": f"c{campaign}"}
            rows.append({"offer_event_id": f"n{id}", "event_time": clock(start), **common, "kind": "sent"})
            if rng.random() < 0.1:
                at = start + int(rng.integers(1, 13 * 86_400)) * 1_000_000
                rows.append(
                    {
                        "offer_event_id": f"d{id}",
                        "event_time": clock(at),
                        **common,
                        "offer_id": f"o{10 * int(rng.integers(10)) + campaign:03d}",
                        "kind": "redeemed",
                    }
                )
    return rows


# Files ----------------------------------------------------------------------------------------------


def _ending(name: str, scale: float) -> str:
    return "parquet" if scale > TEXT_UP_TO else "csv" if name in CSV else "jsonl"


def write(
    home: Path, rng: np.random.Generator, name: str, number: int, rows: list[Row], scale: float
) -> tuple[list[Row], dict[str, int]]:
    """Write one file; returns its planted faults with their rows, and the row of every id (of the first column)."""
    ending = _ending(name, scale)
    path = home / "source" / f"{name}-{number:05d}.{ending}"
    if ending == "parquet":
        _parquet(path, [{k: None if v is None else str(v) for k, v in row.items()} for row in rows], name)
        return [], {str(next(iter(row.values()))): n for n, row in enumerate(rows, 1)}
    lines = plant(rng, name, rows)
    starts = _csv(path, lines) if ending == "csv" else _jsonl(path, lines)
    faults: list[Row] = []
    places: dict[str, int] = {}
    for line, start in zip(lines, starts, strict=True):
        if line.reason:
            faults.append(
                {"table": name, "file": path.name, "row": start, "reason": line.reason, "detail": line.detail}
            )
        elif isinstance(line.row, dict):
            places.setdefault(str(next(iter(line.row.values()))), start)
    return faults, places


def _jsonl(path: Path, lines: list[Line]) -> list[int]:
    """Write JSON lines; the row of each is its line."""
    encoded = [
        line.row if isinstance(line.row, bytes) else json.dumps(line.row, ensure_ascii=False).encode() for line in lines
    ]
    path.write_bytes(b"".join(line + b"\n" for line in encoded))
    return list(range(1, len(lines) + 1))


def _csv(path: Path, lines: list[Line]) -> list[int]:
    """Write CSV with a header; the row of each record is the line where it begins."""
    names = list(next(line.row for line in lines if isinstance(line.row, dict)))
    out, starts, at = [_record(names)], [], 2
    for line in lines:
        record = line.row + b"\n" if isinstance(line.row, bytes) else _record([line.row.get(name) for name in names])
        starts.append(at)
        out.append(record)
        at += record.count(b"\n")
    path.write_bytes(b"".join(out))
    return starts


def _record(values: list[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()


def _parquet(path: Path, rows: list[Row], name: str | None = None) -> None:
    """Rows as Parquet: with all the columns of the table `name`, as text, or as they are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if name is None:
        pq.write_table(pa.Table.from_pylist(rows), path, compression="zstd")
        return
    from jobs.sources.sample import columns

    schema = pa.schema([(column, pa.string()) for column in columns(name)])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, compression="zstd")
