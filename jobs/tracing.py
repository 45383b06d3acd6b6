"""Each step tells of itself in OpenLineage's events: which tables it read, which it wrote, how many rows; never a row.

START, then COMPLETE, FAIL or ABORT, in the job namespace `endcap.SHOP`. They are appended to
$ENDCAP_HOME/SHOP/lineage/DATE.jsonl, or posted to OPENLINEAGE_URL (with OPENLINEAGE_API_KEY, if set). An event that
cannot be delivered is said, and the step goes on: nothing that anyone waits for hangs on an event. Where it ends: a
process that is killed outright tells no end.
"""

import argparse
import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jobs import expectations
from jobs.console import OK, REFUSED, Problem, say
from jobs.tables import ZONES, table, tables
from jobs.warehouse import POINTED, Mark, Name, State, Warehouse, code_version, home, in_threads, warehouse

SPARK = ("import", "clean", "anonymise", "validate", "aggregate")
Facets = dict[str, Any]
Pointed = tuple[State, Mark]


@dataclass
class Read:
    """What a run read of one table, or one source file: rows and bytes where marks tell them."""

    rows: int = 0
    bytes: int = 0
    names: set[str] = field(default_factory=set)
    counted: bool = False

    @property
    def version(self) -> str:
        """Changes when any of its partitions does."""
        return hashlib.sha256("\n".join(sorted(self.names)).encode()).hexdigest()[:32]


def read_by(house: Warehouse, command: str, args: argparse.Namespace, pointed: Iterable[Pointed]) -> dict[str, Read]:
    """What a run read, by dataset, as far as the marks that it wrote say: partitions by name, tables by one hash."""
    marks = [mark for _, mark in pointed]
    if command == "materialise":
        first, last = (each and each.isoformat() for each in (args.first, args.last))
        names = [m.name for each in tables("stats") for m in house.marks("stats", each.name, first, last)]
    elif command == "validate":  # its marks name what `anonymise` read; it read what it published
        names = [mark.name for mark in marks]
    else:
        names = [name for mark in marks for name in mark.inputs]
    found: dict[str, Read] = {}
    asked = sorted(set(names))
    for name, mark in zip(asked, in_threads(house.find, asked), strict=True):
        parts = Name.of(name)
        if parts.zone not in ZONES:
            continue
        for one in parts.table.split("+"):
            read = found.setdefault(f"{parts.zone}/{one}", Read())
            read.names.add(name)
            if mark is not None:
                read.rows, read.bytes, read.counted = read.rows + mark.rows, read.bytes + mark.bytes, True
    for mark in marks:
        for file, digest in dict(mark.notes.get("files", {})).items() if command == "import" else ():
            found.setdefault(f"source/{file}", Read()).names.add(str(digest))
    return found


def written_by(pointed: Iterable[Pointed], command: str) -> dict[str, list[Mark]]:
    """The marks that a run wrote, by dataset; each day once, as it was left."""
    last: dict[tuple[str, str], Mark] = {}
    for state, mark in pointed:
        if command != "validate" or state == "published":
            last[f"{mark.zone}/{mark.table}", mark.day] = mark
    found: dict[str, list[Mark]] = {}
    for (name, _), mark in last.items():
        found.setdefault(name, []).append(mark)
    return found


# Events ------------------------------------------------------------------------------------------------


class Story:
    """The events of one run of one command."""

    def __init__(self, shop: str, command: str, args: argparse.Namespace) -> None:
        from openlineage.client import event_v2
        from openlineage.client.uuid import generate_new_uuid

        self.shop, self.command, self.args, self.ol = shop, command, args, event_v2
        self.namespace = f"endcap.{shop}"
        self.id = str(generate_new_uuid())
        event_v2.set_producer(f"urn:endcap:{code_version()}")

    def run_facets(self, why: str) -> Facets:
        """Which days, on which engine, and what went wrong."""
        from openlineage.client import facet_v2 as facets

        made: Facets = {}
        first, last = getattr(self.args, "first", None), getattr(self.args, "last", None)
        if isinstance(first, date) and isinstance(last, date):
            begin, end = (datetime.combine(d, time(), UTC).isoformat() for d in (first, last + timedelta(days=1)))
            made["nominalTime"] = facets.nominal_time_run.NominalTimeRunFacet(begin, end)
        if self.command in SPARK:
            made["processing_engine"] = facets.processing_engine_run.ProcessingEngineRunFacet(
                _version("pyspark"), "Spark"
            )
        if why:
            made["errorMessage"] = facets.error_message_run.ErrorMessageRunFacet(why, "PYTHON")
        return made

    def dataset_facets(self, name: str, of: str) -> Facets:
        """Schema and version of a table. `of` changes when any of its partitions does."""
        from openlineage.client import facet_v2 as facets

        made: Facets = {"version": facets.dataset_version_dataset.DatasetVersionDatasetFacet(of)}
        zone, _, short = name.partition("/")
        if zone in ZONES:
            fields = [
                facets.schema_dataset.SchemaDatasetFacetFields(c.name, c.kind, c.doc, n)
                for n, c in enumerate(table(zone, short).columns, 1)
            ]
            made["schema"] = facets.schema_dataset.SchemaDatasetFacet(fields)
        return made

    def input(self, name: str, read: Read, judged: Mapping[str, Mapping[str, bool]]) -> Any:
        """One input dataset, with rows and bytes where they are known, and what was expected of it."""
        from openlineage.client import facet_v2 as facets

        quality: Facets = {}
        if read.counted:
            quality["dataQualityMetrics"] = (
                facets.data_quality_metrics_input_dataset.DataQualityMetricsInputDatasetFacet({}, read.rows, read.bytes)
            )
        if name in judged:
            quality["dataQualityAssertions"] = facets.data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet(
                [assertion(name, words, held) for words, held in judged[name].items()]
            )
        return self.ol.InputDataset(
            self.namespace, name, facets=self.dataset_facets(name, read.version), inputFacets=quality
        )

    def output(self, name: str, marks: list[Mark]) -> Any:
        """One output dataset, with the rows and bytes that this run wrote."""
        from openlineage.client import facet_v2 as facets

        rows, weight = sum(mark.rows for mark in marks), sum(mark.bytes for mark in marks)
        counted = facets.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(rows, weight)
        made = self.dataset_facets(name, Read(names={mark.name for mark in marks}).version)
        return self.ol.OutputDataset(self.namespace, name, facets=made, outputFacets={"outputStatistics": counted})

    def event(self, state: str, at: datetime, pointed: Iterable[Pointed] = (), why: str = "") -> Any:
        """One event: a RunEvent of OpenLineage's client."""
        from openlineage.client import facet_v2 as facets

        pointed = list(pointed)
        inputs: list[Any] = []
        outputs: list[Any] = []
        if state != "START":
            house = warehouse(self.shop, must_exist=False)
            read = read_by(house, self.command, self.args, pointed)
            judged = {name: verdicts(house, name, pointed) for name in read} if self.command == "validate" else {}
            inputs = [self.input(name, each, judged) for name, each in sorted(read.items())]
            outputs = [self.output(name, marks) for name, marks in sorted(written_by(pointed, self.command).items())]
            if self.command == "materialise":
                outputs = [self.ol.OutputDataset(self.namespace, name.replace("stats/", "online/")) for name in read]
        kind = facets.job_type_job.JobTypeJobFacet("BATCH", "ENDCAP", "COMMAND")
        model = getattr(self.args, "model", None)
        name = f"{self.command}.{model}" if model else self.command
        return self.ol.RunEvent(
            eventType=self.ol.RunState[state],
            eventTime=at.isoformat(),
            run=self.ol.Run(self.id, self.run_facets(why)),
            job=self.ol.Job(self.namespace, name, {"jobType": kind}),
            inputs=inputs,
            outputs=outputs,
        )


def assertion(name: str, words: str, held: bool) -> Any:
    """One expectation and whether every day of the run fulfilled it."""
    from openlineage.client.facet_v2 import data_quality_assertions_dataset as quality

    zone, _, short = name.partition("/")
    one = next(each for each in expectations.suite(short) if each.words == words)
    column = one.column.rpartition(":")[2].removeprefix("no ")
    named = column if column in table(zone, short).names else None
    severity = "error" if one.severity == "stop" else "warn"
    return quality.Assertion(assertion=one.column, success=held, column=named, severity=severity, description=words)


def verdicts(house: Warehouse, name: str, pointed: Iterable[Pointed]) -> dict[str, bool]:
    """Each expectation of a table in words, and whether every day keeps it that was published now or stays refused."""
    _, _, short = name.partition("/")
    said = [
        w for _, mark in pointed if mark.table == short for w in mark.notes.get("validation", {}).get("warnings", [])
    ]
    said += [why for refusal in house.refusals("safe", short, "validate").values() for why in refusal.why]
    return {
        one.words: not any(each == one.words or each.startswith(f"{one.words}: ") for each in said)
        for one in expectations.suite(short)
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


# Delivery ----------------------------------------------------------------------------------------------


def deliver(shop: str, event: Any, environ: Mapping[str, str]) -> None:
    """Post an event to OPENLINEAGE_URL, if it is set; append it to the shop's file if not, or if nobody took it."""
    from openlineage.client.serde import Serde

    if environ.get("OPENLINEAGE_URL"):
        try:
            return post(event, environ)
        except Exception as fault:
            say(f"note: OPENLINEAGE_URL did not take an event ({type(fault).__name__}); it is kept in {folder(shop)}")
    path = folder(shop) / f"{datetime.now(UTC).date()}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, f"{Serde.to_json(event)}\n".encode())  # one write at the end: two steps' lines stay whole
    finally:
        os.close(handle)
    return None


def post(event: Any, environ: Mapping[str, str]) -> None:
    """One event to an OpenLineage server; an exception if it is not taken within five seconds."""
    from openlineage.client.transport.http import HttpConfig, HttpTransport

    settings: dict[str, Any] = {"url": environ["OPENLINEAGE_URL"], "timeout": 5, "retry": {"total": 0}}
    if key := environ.get("OPENLINEAGE_API_KEY"):
        settings["auth"] = {"type": "api_key", "apiKey": key}
    if endpoint := environ.get("OPENLINEAGE_ENDPOINT"):
        settings["endpoint"] = endpoint
    HttpTransport(HttpConfig.from_dict(settings)).emit(event)


def folder(shop: str) -> Path:
    """Where a shop's events lie."""
    return home() / shop / "lineage"


# The command -------------------------------------------------------------------------------------------


def told_by(story: Story, state: str, pointed: list[Pointed], why: str) -> None:
    """Make and deliver the event that ends a run."""
    deliver(story.shop, story.event(state, datetime.now(UTC), pointed, why), os.environ)


def why_of(fault: BaseException) -> str:
    """What may be told of a failure: our own words; of any other only its kind, since it could quote a row."""
    return str(fault) if isinstance(fault, Problem) else type(fault).__name__


def tell(attempt: Callable[[], None]) -> None:
    """Do it; if that fails say so, and go on."""
    try:
        attempt()
    except Exception as fault:
        say(f"note: this step's lineage event could not be written ({type(fault).__name__}); the step goes on")


def run(args: argparse.Namespace) -> int:
    """Run the command that `args.traced` names, between its events. Its exit code and its faults pass unchanged."""
    module, function = args.traced.split(":")
    shop, command, began = args.shop, args.command, datetime.now(UTC)
    made: list[Story] = []

    def start() -> None:
        made.append(Story(shop, command, args))
        deliver(shop, made[0].event("START", began), os.environ)

    def end(state: str, why: str = "") -> None:
        told.join()
        for story in made:
            tell(partial(told_by, story, state, POINTED[before:], why))

    before = len(POINTED)
    told = threading.Thread(target=tell, args=(start,))  # OpenLineage's classes cost half a second to import
    told.start()
    try:
        code = int(getattr(import_module(module), function)(args) or OK)
    except KeyboardInterrupt:
        end("ABORT")
        raise
    except BaseException as fault:
        end("FAIL", why_of(fault))
        raise
    if code == OK:
        end("COMPLETE")
    else:
        end("FAIL", f"exit code {code}{': a check refused' if code == REFUSED else ''}")
    return code
