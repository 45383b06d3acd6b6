"""clean -> safe: pseudonyms for visitors, direct identifiers out, quasi-identifiers generalised, texts scrubbed.

All of it in Spark's JVM (files are written by `jobs.spark`); a table of tens of millions of rows without a shuffle.
The key reaches the JVM as a file that is read there and cross-joined, never as a literal: it stands
in no plan, no log and no column's name. After writing, an independent scan of what was written looks
for each visitor's own identifiers, counts placeholders by type, counts the groups of visitors, and attacks them.
A day in which anything is left is not proposed, and its files are removed; the other days are not held up by it.
What was found stands in the marks; the report adds them up.
"""

import argparse
import json
import os
import shutil
import time
from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING, Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs import attacks, counting, generalising, recognisers, scrubbing
from jobs.cleaning import ROWS_A_TASK, bounds, outcomes, summary
from jobs.console import Problem, Refused, narrate, say
from jobs.generalising_policy import counted, load, path_of, policy_for, quasi, setting
from jobs.pseudonyms import DIGITS, DOMAINS, Key, key_file, load_key
from jobs.spark import ddl, filed, read, session, side_by_side, write
from jobs.tables import DELIVERED, WHOLE, Table, table
from jobs.warehouse import (
    Attempt,
    Mark,
    Refusal,
    Warehouse,
    code_version,
    home,
    rows_of,
    warehouse,
    write_atomically,
)

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

STEP = "anonymise"
FREE = {"searches": "query", "reviews": "text", "tickets": "text"}
BIG = 3_000_000  # rows from which a shuffle by day costs more than a task a file
OPEN_COST = "spark.sql.files.openCostInBytes"
SETTINGS = {"spark.sql.files.maxPartitionBytes": str(1 << 30)}  # no day is split


# Pseudonyms -----------------------------------------------------------------------------------


def with_key(rows: DataFrame, shop: str, epoch: int | None = None) -> DataFrame:
    """`rows` beside the key of an epoch (else the current one) as bytes in `_secret`, read from its file by the JVM."""
    key = rows.sparkSession.read.format("binaryFile").load(str(key_file(shop, epoch)))
    secret = F.unhex(F.trim(F.regexp_replace(F.col("content").cast("string"), r"\s", "")))
    return rows.crossJoin(F.broadcast(key.select(secret.alias("_secret"))))


def stand_in(column: Column, prefix: str, epoch: int, domain: str = "") -> Column:
    """HMAC-SHA-256 of a column under `_secret`, as `jobs.pseudonyms` computes it. Null stays null."""
    message = F.concat(F.lit(domain), column).cast("binary")
    digest = F.lower(F.hex(F.hmac(F.col("_secret"), message, F.lit("SHA-256"))))
    return F.concat(F.lit(f"{prefix}{epoch}_"), F.substr(digest, F.lit(1), F.lit(DIGITS)))


def pseudonymised(rows: DataFrame, declared: Table, key: Key) -> DataFrame:
    """visitor_id -> visitor, and every other column that points at a visitor, each in its own domain."""
    if "visitor_id" in declared.names:
        rows = rows.withColumn("visitor", stand_in(F.col("visitor_id"), "v", key.epoch))
    for column in declared.columns:
        if column.personal == "visitor" and column.name in DOMAINS:
            domain = DOMAINS[column.name]
            rows = rows.withColumn(column.name, stand_in(F.col(column.name), domain, key.epoch, f"{domain}:"))
    return rows


# Quasi-identifiers ----------------------------------------------------------------------------


def generalised(
    rows: DataFrame,
    columns: list[str],
    counts: dict[generalising.Group, int],
    policy: generalising.Policy,
) -> tuple[DataFrame, int]:
    """Visitors with generalised columns, those whose group may not be shown left out; and how many those are."""
    after = generalising.merged(columns, counts, policy.levels)
    shown = generalising.shown(columns, after, policy.k, policy.l)
    maps = {
        c: {v: generalising.generalise(c, v, policy.levels[c]) for v in sorted({g[i] for g in counts})}
        for i, c in enumerate(columns)
    }
    fields = ", ".join(f"`_{c}` string" for c in columns)
    for c in columns:
        values = (
            F.create_map(*chain.from_iterable((F.lit(v), F.lit(g)) for v, g in maps[c].items()))
            if len(maps[c]) < 200
            else None
        )
        plain = F.coalesce(F.trim(c), F.lit(generalising.UNKNOWN))
        if values is not None:
            rows = rows.withColumn(c, values[plain])
        else:
            listed = rows.sparkSession.createDataFrame(list(maps[c].items()), "_from string, _to string")
            rows = (
                rows.join(F.broadcast(listed), plain == F.col("_from")).withColumn(c, F.col("_to")).drop("_from", "_to")
            )
    allowed = rows.sparkSession.createDataFrame(sorted(shown), fields)
    same = [F.col(c) == F.col(f"_{c}") for c in columns]
    return rows.join(F.broadcast(allowed), same, "left_semi"), sum(counts.values()) - sum(shown.values())


# Writing --------------------------------------------------------------------------------------


def tasks_for(count: int) -> int:
    """Among how many tasks days are shared out. Of a big table every input file is one task: nothing is shuffled."""
    return max(2, count // ROWS_A_TASK + 1) if count < BIG else 0


def inspected(
    spark: "SparkSession", attempt: Attempt, people: DataFrame, column: str
) -> dict[str, tuple[dict[str, int], dict[str, int]]]:
    """What lies in the written texts: by day, placeholders by type, and rows that still hold an identifier."""
    rows = spark.read.schema(ddl(table(attempt.zone, attempt.table))).parquet(str(attempt.path))
    rows = rows.select("visitor", F.col("day").cast("string").alias("_d"), column)
    rows = rows.join(F.broadcast(people), "visitor", "left")
    left = scrubbing.residue(F.col(column), {own: F.col(own) for own in scrubbing.OWN})
    types = {name: F.regexp_count(F.col(column), F.lit(scrubbing.counted(name))) for name in recognisers.NAMES}
    sums = [F.sum(count).alias(f"s:{name}") for name, count in types.items()]
    sums += [F.sum(found.cast("long")).alias(f"r:{kind}") for kind, found in left.items()]
    out = {}
    for row in rows.groupBy("_d").agg(*sums).collect():
        values = row.asDict()
        out[values["_d"]] = tuple(
            {key[2:]: int(value or 0) for key, value in values.items() if key.startswith(part)} for part in ("s:", "r:")
        )
    return out  # type: ignore[return-value]


# The step -------------------------------------------------------------------------------------


class Anonymiser:
    """One run over one shop: what every table needs, the key and the visitors' own identifiers."""

    def __init__(self, house: Warehouse) -> None:
        self.house, self.key = house, load_key(house.shop)
        self.people_marks = house.marks("clean", "visitors")

    def people(self, spark: "SparkSession") -> DataFrame:
        """Each visitor's id and own identifiers."""
        return read(spark, self.house, "clean", "visitors", self.people_marks).select("visitor_id", *scrubbing.OWN)

    def inputs(
        self, name: str, marks: Iterable[Mark], policy: generalising.Policy | None = None
    ) -> dict[str, list[Mark | str]]:
        """What each day is made of: its clean partition, the visitors where texts are scrubbed, and the settings.

        `policy`: that by which the visitors were generalised, since another run may have fitted a new one meanwhile.
        """
        asked: list[Mark | str] = [*self.people_marks] if name in FREE else []
        if name in FREE and (other := os.environ.get(scrubbing.SETTING)):
            asked.append(f"policy/recogniser/{WHOLE}@{other}")
        if any(c.personal == "visitor" for c in table("clean", name).columns):
            asked.append(f"policy/key_epoch/{WHOLE}@{self.key.epoch}")
        if name == "visitors" and (policy := policy or load(path_of(self.house.shop))):
            asked.append(setting(policy))
        return {mark.day: [mark, *asked] for mark in marks}

    def stale(self, name: str, marks: list[Mark]) -> list[Mark]:
        """Those whose safe partition is missing or was made of something else; not those that were refused as such."""
        inputs = self.inputs(name, marks)
        days = self.house.stale("safe", name, inputs)
        known = self.house.refusals("safe", name, STEP)
        return [m for m in marks if m.day in days and not (m.day in known and known[m.day].of == whole(inputs[m.day]))]

    def table(self, spark: "SparkSession", name: str, marks: list[Mark]) -> dict[str, int]:
        """Anonymise one table for the days of `marks`, check what was written, and propose it.

        `Refused` if a person can still be found in the texts of a day, after the other days were proposed; or among
        the visitors, or if too many of those had to be suppressed.
        """
        declared = table("clean", name)
        count = rows_of(marks)
        # As dear to open as a file may be large: then each file of a big table is one task and keeps its order.
        spark.conf.set(OPEN_COST, str(1 << 30 if count >= BIG else 1 << 20))
        rows = read(spark, self.house, "clean", name, marks)
        suppressed = 0
        policy = None
        if name == "visitors":
            rows, suppressed, policy = self.visitors(rows, marks)
        if any(c.personal == "visitor" for c in declared.columns):
            rows = with_key(rows, self.house.shop, self.key.epoch)
        if name in FREE:
            rows = scrubbing.scrubbed(rows, FREE[name], scrubbing.own_patterns(self.people(spark)), "visitor_id")
        rows = pseudonymised(rows, declared, self.key)
        with self.house.attempt("safe", name) as attempt:
            write(filed(rows, table("safe", name), tasks_for(count)), attempt)
            written = {day: n for (day, _, _), n in outcomes(attempt).items()}
            by_day = {m.day: counting.terms(m.rows, out=written.get(m.day, 0), suppressed=suppressed) for m in marks}
            counting.check(STEP, name, by_day)
            inputs = self.inputs(name, marks, policy)
            found, left = ({}, {}) if policy else self.texts(spark, name, attempt)
            notes = {WHOLE: self.people_shown(attempt, marks, policy, inputs)} if policy else found
            good = [day for day in inputs if day not in left]
            for day in left:
                shutil.rmtree(attempt.folder(day))
            self.house.propose_days(attempt, good, step=STEP, counts=by_day, inputs=inputs, notes=notes, keep=True)
        for day in good:
            self.house.forgive("safe", name, STEP, day)
        if left:
            self.refuse(name, inputs, left)
        return counting.total(by_day.values())

    def visitors(self, rows: DataFrame, marks: list[Mark]) -> tuple[DataFrame, int, generalising.Policy]:
        """Generalised by the policy; how many are suppressed, their groups being below k or l; and the policy.

        `Refused` if a later snapshot fits the policy so badly that more than its share would be suppressed.
        """
        columns = quasi(table("clean", "visitors"))
        counts = counted(self.house.files(marks), columns)
        policy = policy_for(self.house.shop, counts, marks)
        rows, suppressed = generalised(rows, columns, counts, policy)
        total = sum(counts.values())
        # One who leaves, or is erased, may take a whole group along: in a small shop that alone is more than the share.
        if policy.reached and suppressed > policy.refit_above * total + policy.k - 1:
            fault = Refused(
                f"{suppressed} of {total} visitors ({suppressed / total:.1%}) fit no group of {policy.k} with "
                f"{policy.l} distinct {generalising.SENSITIVE}s under policy {policy.version}, more than its "
                f"{policy.refit_above:.0%} and a group of {policy.k - 1}",
                where=str(path_of(self.house.shop)),
                do=f"fit the levels anew with 'python -m jobs policy --shop {self.house.shop} --refit'; or, if the "
                "loss may stand, raise refit_above in the policy. The visitors of before are still what is read",
            )
            self.remember("visitors", self.inputs("visitors", marks, policy), fault)
            raise fault
        return rows, suppressed, policy

    def people_shown(
        self, attempt: Attempt, marks: list[Mark], policy: generalising.Policy, inputs: dict[str, list[Mark | str]]
    ) -> dict[str, Any]:
        """Notes on the visitors as written: groups, and what an attacker makes of them. `Refused` beyond a limit."""
        try:
            notes = groups_reached(attempt, policy)
            written = sorted(attempt.folder(WHOLE).glob("*.parquet"))
            columns = quasi(table("safe", "visitors"))
            found = attacks.linkage_of(self.house.files(marks), written, columns, policy.k, self.key)
            attacks.demand(found, f"safe/visitors, attempt {attempt.id}")
        except Refused as fault:
            self.remember("visitors", inputs, fault)
            raise
        return {**notes, "attacks": {"linkage": found.as_dict()}}

    def remember(self, name: str, inputs: dict[str, list[Mark | str]], fault: Refused) -> None:
        """Keep in mind that these days were refused, so that `--stale` does not ask the same night after night."""
        for day, named in inputs.items():
            self.house.refuse("safe", name, Refusal(STEP, day, whole(named), (fault.what,)))

    def refuse(self, name: str, inputs: dict[str, list[Mark | str]], left: dict[str, dict[str, int]]) -> None:
        """Remember the days in which direct identifiers were left, and raise `Refused`."""
        for day, kinds in left.items():
            why = tuple(f"{n} rows still hold {kind}" for kind, n in kinds.items() if n)
            self.house.refuse("safe", name, Refusal(STEP, day, whole(inputs[day]), why))
        total = counting.total(left.values())
        raise Refused(
            f"safe/{name} would still hold direct identifiers: "
            + ", ".join(f"{n} rows with {kind}" for kind, n in total.items() if n),
            where=f"{len(left)} days, first {min(left)}",
            do="these days were not proposed; extend jobs/scrubbing.py for this form, and run again",
        )

    def texts(
        self, spark: "SparkSession", name: str, attempt: Attempt
    ) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, int]]]:
        """Notes by day from a second look at the texts as written; and the days in which a person can be found."""
        if name not in FREE or not outcomes(attempt):
            return {}, {}
        beside = with_key(self.people(spark), self.house.shop, self.key.epoch)
        people = pseudonymised(beside, table("clean", "visitors"), self.key)
        found = inspected(spark, attempt, people.select("visitor", *scrubbing.OWN), FREE[name])
        notes = {
            day: {"scrubbed": {kind: n for kind, n in s.items() if n}, "residue": r} for day, (s, r) in found.items()
        }
        return notes, {day: r for day, (_, r) in sorted(found.items()) if any(r.values())}


def whole(inputs: Iterable[Mark | str]) -> tuple[str, ...]:
    """What a refusal is about: the inputs by name, and the code that refused them."""
    return (*sorted(i if isinstance(i, str) else i.name for i in inputs), f"code@{code_version()}")


def groups_reached(attempt: Attempt, policy: generalising.Policy) -> dict[str, Any]:
    """k, l and t of the visitors as written, counted from the files; `Refused` if k or l is below the policy's."""
    columns = quasi(table("safe", "visitors"))
    sizes = attacks.published_groups(sorted(attempt.folder(WHOLE).glob("*.parquet")), columns)
    reached = {"k": min(sizes.values(), default=None), "l": generalising.distinct_l(columns, sizes)}
    for name, found in reached.items():
        if found is not None and found < (wanted := getattr(policy, name)):
            raise Refused(
                f"safe/visitors reaches only {name} = {found}, not {wanted}",
                where=str(attempt.folder(WHOLE)),
                do="nothing was proposed; look at the policy's levels with 'python -m jobs policy'",
            )
    apart = generalising.t_closeness(columns, sizes)
    return {
        **reached,
        "k_wanted": policy.k,
        "l_wanted": policy.l,
        "l_of": generalising.SENSITIVE,
        "entropy_l": generalising.entropy_l(columns, sizes),
        "t": apart and apart[0],
        "t_distance": apart and apart[1],
        "loss_bits": policy.loss,
        "of_bits": policy.bits,
        "groups": len(sizes),
        "policy_version": policy.version,
        "columns_generalised": {c: {"level": policy.levels[c], "of": generalising.top(c)} for c in columns},
    }


def report_of(house: Warehouse) -> dict[str, Any]:
    """The shop's privacy in figures: of everything that is proposed, from the marks, whichever run wrote it."""
    marks = {name: found for name in DELIVERED if (found := house.marks("safe", name, state="proposed"))}
    noted = {
        part: {name: counting.total(m.notes.get(part, {}) for m in marks[name]) for name in FREE if name in marks}
        for part in ("scrubbed", "residue")
    }
    dropped = {name: [c.name for c in table("clean", name).columns if c.personal == "direct"] for name in marks}
    days = sorted(mark.day for found in marks.values() for mark in found if mark.day != WHOLE)
    people = marks.get("visitors", [])
    suppressed = sum(mark.counts["suppressed"] for mark in people)
    return {
        "shop": house.shop,
        "first": days[0] if days else None,
        "last": days[-1] if days else None,
        "k": None,
        "l": None,
        **(people[0].notes if people else {}),
        "suppressed": suppressed,
        "suppressed_share": suppressed / max(1, sum(mark.counts["in"] for mark in people)),
        "columns_dropped": {name: columns for name, columns in dropped.items() if columns},
        "key_epoch": load_key(house.shop).epoch,
        **noted,
    }


def found_by(report: dict[str, Any]) -> str:
    """What the linkage attack on the visitors came to, in words; nothing if there are none."""
    linkage = report.get("attacks", {}).get("linkage")
    if linkage is None:
        return ""
    return f"; linkage finds the easiest with {linkage['figure']:.3f}, limit {linkage['limit']:.3f}"


def run(args: argparse.Namespace) -> int:
    """`python -m jobs anonymise`: every clean table, for a range of days."""
    began = time.monotonic()
    house = warehouse(args.shop)
    first, last = bounds(args.first, args.last)
    chosen = {name: marks for name in DELIVERED if (marks := house.marks("clean", name, first, last))}
    if not any(map(rows_of, chosen.values())):
        raise Problem(
            f"shop '{args.shop}' has no clean rows for these days",
            where=str(house.root / "clean"),
            do=f"run 'python -m jobs clean --shop {args.shop}' first",
        )
    work = Anonymiser(house)
    if args.stale:
        chosen = {name: stale for name, marks in chosen.items() if (stale := work.stale(name, marks))}
        if not chosen:
            print("nothing is stale: every safe partition was made of what there is now")
            say(f"Next: python -m jobs validate --shop {args.shop} --stale")
            return 0
        say(f"stale: {', '.join(f'{name} {len(marks)}' for name, marks in chosen.items())} (days)")
    sizes = {name: rows_of(marks) for name, marks in chosen.items()}
    refused: list[Refused] = []
    with session(STEP, rows=sum(sizes.values()), **SETTINGS) as spark:

        def one(spark: "SparkSession", name: str) -> dict[str, int]:
            with narrate(f"anonymise {name}"):
                try:
                    return work.table(spark, name, chosen[name])
                except Refused as fault:
                    refused.append(fault)
                    return {}

        totals = side_by_side(spark, one, sizes)
    path = home() / args.shop / "reports" / "privacy.json"
    report = report_of(house)
    write_atomically(path, json.dumps(report, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    print(summary(totals))
    scrubs = counting.total(report["scrubbed"].values())
    left = sum(counting.total(report["residue"].values()).values())
    print(
        f"visitors: k = {report['k']}, l = {'none told' if report['l'] is None else report['l']}, "
        f"{report['suppressed']} suppressed{found_by(report)}"
    )
    print(
        f"texts: {', '.join(f'{n} {kind}' for kind, n in sorted(scrubs.items())) or 'nothing to scrub'}; residue {left}"
    )
    say(f"{time.monotonic() - began:.0f} s; proposed in {house.root / 'safe'}; report {path}")
    if refused:
        for fault in refused[1:]:
            say(f"error: {fault}")
        raise refused[0]
    say(f"Next: python -m jobs validate --shop {args.shop}")
    return 0
