"""# A shop's files become tables, features and training sets

**The way.** import, clean, anonymise, validate, aggregate, materialise, examples. Each task is a command line that
can be run alone (`python -m jobs STEP --shop SHOP`); what is handed over is a published partition, never a value.

**Scheduled** every night for the day before (`partition_key`): it imports its day, and then refreshes whatever is
stale (`--stale`): its day, and what hangs on a day that came late or was corrected. **By hand** give
`first` and `last`, or neither for all that the shop has. A refused row lies in quarantine with its reason
(`python -m jobs quarantine --shop SHOP`). A refused day fails its task, whose page links to Data Docs, and so the run;
but it holds up no other day: the steps behind it go on with what is published, and what was published before still
stands. Only training sets wait for a run in which nothing was refused.

**Attacks.** Nothing is proposed in which visitors can be told apart beyond the policy (`anonymise`). What was published
is attacked again: `attack` looks for visitors by what others know of them, `scan` for their identifiers in everything
below the closed zone, of the warehouse in the run's days. Either fails if a limit is exceeded, says where, and no model
learns. Runs of a backfill leave both to the next night, runs by hand the scan: a year's takes minutes (`jobs scan`).

**Backfill** from *Trigger, Backfill* or by `POST /api/v2/backfills`: one run a day, in order if you ask for one active
run at a time, and a day that fails holds up no other. A day counts if 03:00 UTC of it lies in the range, so let the
range end at 23:59. A backfill writes no training sets: they would know less than those that there are.

**Skew**: behind `materialise` a thousand draws are looked up and compared with what training would be told. One that
differs fails the task; no training sets are then written, and the model gate lets no candidate pass.

**The privacy page** is made anew behind them, whatever they found: the task `privacy` links to it.

**The features** are looked at by night behind `materialise`: `watch_features` fails, and so the run, if a table has
stopped or a feature's last week is unlike the four weeks before it; nothing waits for it. It links to their page.

**Again.** Every task may be cleared and run again: the same input gives the same bytes.
"""

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from airflow.sdk import DAG, Asset, CronPartitionTimetable, Param
from command_line import DEFAULTS, EXAMPLES, FOLDER, SHOP, CheckParams, CommandLine, Privacy, Validate, Watch

from jobs.tables import table, tables

SHOP_NAME = "{{ params.shop }}"
FIRST = "{{ params.first or ('' if params.last else dag_run.partition_key) or '' }}"
LAST = "{{ params.last or ('' if params.first else dag_run.partition_key) or '' }}"
RANGE = {"--shop": SHOP_NAME, "--first": FIRST, "--last": LAST}
# A run of one day refreshes all that is stale: what hangs on its day lies on others, too.
BY_PARTITION = "dag_run.partition_key and not (params.first or params.last)"
GIVEN = {"--shop": SHOP_NAME, "--first": "{{ params.first or '' }}", "--last": "{{ params.last or '' }}"}
STALE = {"--stale": "{{ 'yes' if params.stale or (" + BY_PARTITION + ") else 'no' }}"}
NO_BACKFILL = "{{ 'no' if dag_run.run_type == 'backfill' else 'yes' }}"
BY_NIGHT = "{{ 'yes' if " + BY_PARTITION + " and dag_run.run_type != 'backfill' else 'no' }}"
GO_ON = "all_done_min_one_success"  # of the step before and the import: on after a refusal, not after a lost import
PUBLISHED = [Asset(f"safe.{table('safe', name).name}") for name in ("items", "interactions", "searches", "rankings")]
STATS = [Asset(f"stats.{t.name}") for t in tables("stats")]
ASSETS = {name: Asset(f"examples.{name}") for name in ("recommender", "encoder")}
if not {t.name for t in tables("examples")} >= set(ASSETS):
    raise ValueError(f"no such training sets: {sorted(ASSETS)}")


def refresh(name: str, kind: type[CommandLine] = CommandLine, **more: Any) -> CommandLine:
    """One step that knows what is stale: over the days given, or over all days in a run of one partition."""
    return kind(task_id=name, words=["jobs", name], options=GIVEN, flags=STALE, **more)


def attacked(name: str, options: dict[str, str], when: str) -> CommandLine:
    """An attack on what was published."""
    return CommandLine(task_id=name, words=["jobs", name], options=options, when=when, trigger_rule=GO_ON)


def examples(model: str) -> CommandLine:
    """The training set of one model, knowing nothing after the last day of the run."""
    return CommandLine(
        task_id=f"examples_{model}",
        words=["jobs", "examples", model],
        options={"--shop": SHOP_NAME, "--as-of": LAST},
        when="{{ 'yes' if '" + model + "' in params.examples and dag_run.run_type != 'backfill' else 'no' }}",
        outlets=[ASSETS[model]],
        trigger_rule="none_failed",
    )


with DAG(
    "refresh_data",
    description="A shop's files become tables, features and training sets",
    doc_md=__doc__,
    schedule=CronPartitionTimetable("0 3 * * *", timezone="UTC", run_offset=-1, key_format="%Y-%m-%d"),
    start_date=datetime(2016, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    # A backfill has a limit of runs of its own, which passes by max_active_runs: never two Sparks of one step at once.
    default_args={**DEFAULTS, "max_active_tis_per_dag": 1},
    tags=["endcap", "data"],
    params={
        "shop": SHOP,
        "first": Param(
            None,
            type=["null", "string"],
            format="date",
            title="First day",
            description="First day (UTC). Empty: the partition of the run, else all days.",
        ),
        "last": Param(
            None, type=["null", "string"], format="date", title="Last day", description="Last day (UTC), included."
        ),
        "folder": FOLDER,
        "scale": Param(
            1.0,
            type="number",
            exclusiveMinimum=0,
            maximum=1000,
            title="Scale",
            description="Size of what is generated or simulated; 1 is the ordinary size.",
        ),
        "stale": Param(
            False,
            type="boolean",
            title="Only what is stale",
            description="Only days that are missing, or whose inputs changed since. Runs of a partition always do so.",
        ),
        "examples": EXAMPLES,
    },
):
    check_params = CheckParams(task_id="check_params", retries=0)
    load = CommandLine(
        task_id="import",
        words=["jobs", "import", SHOP_NAME],
        options={
            "--from": "{{ params.folder or '' }}",
            "--scale": "{{ params.scale }}",
            "--first": FIRST,
            "--last": LAST,
        },
    )
    clean = refresh("clean")
    anonymise = refresh("anonymise", trigger_rule=GO_ON)
    validate = refresh("validate", Validate, trigger_rule=GO_ON, outlets=PUBLISHED)
    aggregate = refresh("aggregate", trigger_rule=GO_ON, outlets=STATS)
    materialise = CommandLine(
        task_id="materialise",
        words=["jobs", "materialise"],
        options=GIVEN,
        flags={"--compact": BY_NIGHT},
        trigger_rule=GO_ON,
    )
    skew = CommandLine(
        task_id="skew",
        words=["jobs", "skew"],
        options={"--shop": SHOP_NAME, "--moments": "1", "--sample": "1000"},
        when="{{ 'yes' if dag_run.run_type != 'backfill' else 'no' }}",
        trigger_rule=GO_ON,
    )
    dictionary = CommandLine(task_id="dictionary", words=["jobs", "dictionary"], options={"--shop": SHOP_NAME})
    attack = attacked("attack", {"--shop": SHOP_NAME}, NO_BACKFILL)
    scan = attacked("scan", RANGE, BY_NIGHT)
    privacy = Privacy(
        task_id="privacy", words=["jobs", "privacy"], options={"--shop": SHOP_NAME}, trigger_rule="all_done"
    )
    watch = Watch(
        task_id="watch_features",
        words=["jobs", "features", "check"],
        options={"--shop": SHOP_NAME},
        when=BY_NIGHT,
    )
    training_sets = [examples("recommender"), examples("encoder")]

    check_params >> load >> clean
    for step, after in pairwise([clean, anonymise, validate, aggregate, materialise]):
        [load, step] >> after
    [load, materialise] >> skew
    materialise >> [dictionary, watch]
    for step, after in pairwise([materialise, attack, scan, privacy]):
        [load, step] >> after
    for training_set in training_sets:
        [clean, anonymise, validate, aggregate, materialise, skew, attack, scan] >> training_set
