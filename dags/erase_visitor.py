"""# A person is erased, and what is counted over many is made again

**The way**: `erase` writes a tombstone, takes the person out of every table, the online store, logs and copies,
searches everything for what could be left, and signs a certificate (its place stands in the log of the task). Then the
safe visitors, whose groups are smaller now, and the statistics over many are made again, only those that are *stale*,
and the training sets of them.

**By hand only, by the name of a request.** Airflow keeps whatever is typed into a form, with the run and in its audit
log, so **no id may be typed here**. Ask first, where the shop's home is:

    python -m jobs erase --shop SHOP --visitors - --later

It reads ids, one a line, keeps them in the closed zone until they are erased, and prints the name that this form takes.

**An unknown id** fails the task in words, and its request is removed; a person who was erased before ends green, with
the certificate of then.

**Models** that learnt from them are listed (`python -m models list`). *retrain* triggers `train_models` behind the new
training sets: what is trained then need not be better than the model that it takes the place of, only not worse, and
there is no way back to that one. *retire* takes them out of serving at once, and the champion before them serves.
"""

from datetime import UTC, datetime
from itertools import pairwise

from airflow.sdk import DAG, Param
from command_line import DEFAULTS, EXAMPLES, SHOP, CheckParams, CommandLine, Trigger

SHOP_NAME = "{{ params.shop }}"
RETRAIN = '{"shop": {{ params.shop | tojson }}, "models": {{ params.examples | tojson }}}'


def again(name: str) -> CommandLine:
    """One step over all that is stale."""
    return CommandLine(task_id=name, words=["jobs", name], options={"--shop": SHOP_NAME}, flags={"--stale": "yes"})


def examples(model: str) -> CommandLine:
    """The training set of one model."""
    return CommandLine(
        task_id=f"examples_{model}",
        words=["jobs", "examples", model],
        options={"--shop": SHOP_NAME},
        when="{{ 'yes' if '" + model + "' in params.examples else 'no' }}",
    )


with DAG(
    "erase_visitor",
    description="A person is erased everywhere, with a signed certificate",
    doc_md=__doc__,
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=["endcap", "privacy"],
    params={
        "shop": SHOP,
        "request": Param(
            type="string",
            pattern="^r[0-9a-f]{12}$",
            title="Request",
            description="The name that 'python -m jobs erase --later' printed. Never an id: Airflow keeps it for good.",
        ),
        "models": Param(
            "list",
            type="string",
            enum=["list", "retrain", "retire"],
            title="Models",
            description="What is to become of models that learnt from this person.",
        ),
        "examples": EXAMPLES,
    },
):
    check_params = CheckParams(task_id="check_params", retries=0)
    erase = CommandLine(
        task_id="erase",
        words=["jobs", "erase"],
        options={"--shop": SHOP_NAME, "--request": "{{ params.request }}", "--models": "{{ params.models }}"},
    )
    anonymise, validate, aggregate = again("anonymise"), again("validate"), again("aggregate")
    materialise = CommandLine(task_id="materialise", words=["jobs", "materialise"], options={"--shop": SHOP_NAME})
    for step, after in pairwise([check_params, erase, anonymise, validate, aggregate, materialise]):
        step >> after
    retrain = Trigger(
        task_id="retrain",
        trigger_dag_id="train_models",
        conf=RETRAIN,
        when="{{ 'yes' if params.models == 'retrain' and params.examples else 'no' }}",
        trigger_rule="none_failed",
    )
    materialise >> [examples("recommender"), examples("encoder")] >> retrain
