"""# A shop's files become tables, features and training sets

**The way.** import, clean, anonymise, validate, aggregate, materialise, examples. Each task is a command line that
can be run alone (`python -m jobs STEP --shop SHOP`); what is handed over is a published partition, never a value.

**Scheduled** every night for the day before (`partition_key`). **By hand** give `first` and `last`, or neither for
all that the shop has. A refused row lies in quarantine with its reason (`python -m jobs quarantine --shop SHOP`); a
refused day stops the run at `validate`, and what was published before still stands.

**Again.** Every task may be cleared and run again: the same input gives the same bytes.
"""

from datetime import UTC, datetime

from airflow.sdk import DAG, Asset, CronPartitionTimetable, Param
from command_line import DEFAULTS, FOLDER, SHOP, CheckParams, CommandLine

from jobs.tables import tables

SHOP_NAME = "{{ params.shop }}"
FIRST = "{{ params.first or ('' if params.last else dag_run.partition_key) or '' }}"
LAST = "{{ params.last or ('' if params.first else dag_run.partition_key) or '' }}"
RANGE = {"--shop": SHOP_NAME, "--first": FIRST, "--last": LAST}
ASSETS = {name: Asset(f"examples.{name}") for name in ("recommender", "encoder")}
if not {t.name for t in tables("examples")} >= set(ASSETS):
    raise ValueError(f"no such training sets: {sorted(ASSETS)}")


def step(name: str) -> CommandLine:
    """One step of the tables, over the days of the run."""
    return CommandLine(task_id=name, words=["jobs", name], options=RANGE)


def examples(model: str) -> CommandLine:
    """The training set of one model, knowing nothing after the last day of the run."""
    return CommandLine(
        task_id=f"examples_{model}",
        words=["jobs", "examples", model],
        options={"--shop": SHOP_NAME, "--as-of": LAST},
        when="{{ 'yes' if '" + model + "' in params.examples else 'no' }}",
        outlets=[ASSETS[model]],
    )


with DAG(
    "refresh_data",
    description="A shop's files become tables, features and training sets",
    doc_md=__doc__,
    schedule=CronPartitionTimetable("0 3 * * *", timezone="UTC", run_offset=-1, key_format="%Y-%m-%d"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
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
        "examples": Param(
            ["recommender", "encoder"],
            type="array",
            title="Training sets",
            items={"type": "string", "enum": ["recommender", "encoder"]},
            examples=["recommender", "encoder"],
            description="Which training sets to write.",
        ),
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
    clean, anonymise, validate = step("clean"), step("anonymise"), step("validate")
    aggregate, materialise = step("aggregate"), step("materialise")
    training_sets = [examples("recommender"), examples("encoder")]

    check_params >> load >> clean >> anonymise >> validate >> aggregate >> materialise >> training_sets
