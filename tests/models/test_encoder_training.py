"""The line that decides what is learnt: pairs, negatives, loss, and what validation chooses."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.console import Problem
from models.retrieval.fusion import FusionSettings
from models.training.encoder import (
    Pair,
    allowed,
    batched,
    choose_fusion,
    choose_share,
    chosen,
    contrast,
    freeze,
    mix,
    text_for,
    train,
    training_tokenizer,
    validation_set,
)

KNOWN = datetime(2020, 1, 1, tzinfo=UTC)


def pair(query: str, text: str, source: str = "click", weight: float = 1.0) -> Pair:
    return Pair(query, text, weight, text, source)


def test_negatives_that_answer_the_query_do_not_count() -> None:
    mask = allowed(["tea", "tea", "pan", "cup"], ["green", "black", "green", "mug"])
    assert mask == [
        [True, False, False, True],  # black and the second green answer "tea" too
        [False, True, False, True],
        [True, True, True, True],  # green answers "pan": itself on the diagonal; the first is the same text
        [True, True, True, True],
    ] or mask[2] == [False, True, True, True]
    assert mask[2] == [False, True, True, True]


def test_contrast_by_hand() -> None:
    import torch

    queries = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    whole = torch.ones(2, 2, dtype=torch.bool)
    loss = contrast(queries, queries, whole, torch.ones(2), 1.0)
    assert float(loss) == pytest.approx(math.log(1 + math.exp(-1)), abs=1e-6)
    alone = contrast(queries, queries, torch.eye(2, dtype=torch.bool), torch.ones(2), 1.0)
    assert float(alone) == pytest.approx(0, abs=1e-6)  # with no negatives there is nothing to learn


def test_weights_of_pairs_count() -> None:
    import torch

    queries, texts = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    whole = torch.ones(2, 2, dtype=torch.bool)
    first = float(contrast(queries, texts, whole, torch.tensor([1.0, 0.0]), 1.0))
    second = float(contrast(queries, texts, whole, torch.tensor([0.0, 1.0]), 1.0))
    both = float(contrast(queries, texts, whole, torch.tensor([3.0, 1.0]), 1.0))
    assert both == pytest.approx((3 * first + second) / 4, abs=1e-6)


def test_logged_pairs_first_and_the_same_for_a_seed() -> None:
    pairs = [pair(f"q{n}", f"t{n}", "catalogue") for n in range(50)] + [pair(f"s{n}", f"u{n}") for n in range(5)]
    taken = chosen(pairs, 20, seed=1)
    assert len(taken) == 20 and sum(p.source == "click" for p in taken) == 5
    assert taken == chosen(pairs[::-1], 20, seed=1) != chosen(pairs, 20, seed=2)
    assert len(chosen(pairs, 1000, seed=1)) == 55


def test_a_batch_of_one_has_no_negatives() -> None:
    pairs = [pair(f"q{n}", f"t{n}") for n in range(5)]
    assert [len(batch) for batch in batched(pairs, 2)] == [2, 2]


def test_every_other_catalogue_pair_hides_the_title() -> None:
    fields = {"title": "Nova Buds", "brand": "Nova", "category": "Audio", "description": "small and light"}
    rows = [{"query": f"q{n}", "item_id": "i", "source": "catalogue", "split": "train"} for n in range(40)]
    texts = [text_for(row, fields, "whole") for row in rows]
    assert set(texts) == {"whole", "Nova. Audio. small and light"}
    assert {text_for({**row, "source": "click"}, fields, "whole") for row in rows} == {"whole"}
    assert {text_for({**row, "split": "validation"}, fields, "whole") for row in rows} == {"whole"}
    poor = {"title": "Nova Buds", "brand": "Nova", "category": None, "description": None}
    assert {text_for(row, poor, "whole") for row in rows} == {"whole"}  # too little would be left


def test_mix_is_a_line_between_weights() -> None:
    import torch

    old, new = {"w": torch.tensor([0.0]), "n": torch.tensor([1])}, {"w": torch.tensor([4.0]), "n": torch.tensor([1])}
    assert [float(mix(old, new, share)["w"]) for share in (0.0, 0.25, 1.0)] == [0.0, 1.0, 4.0]
    assert mix(old, new, 0.5)["n"].dtype == torch.int64


def test_half_of_the_layers_stay(tiny_base: Path) -> None:
    from models.encoder import load_base

    model = load_base(str(tiny_base))
    assert freeze(model, 0.5) > 0
    learning = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert learning and all(name.startswith("encoder.layer.1.") for name in learning)


class Texts:
    """As much of a catalogue as the validation set asks for."""

    texts = tuple(f"text {n}" for n in range(2000))


def test_validation_prefers_searches_and_holds_every_answer() -> None:
    pairs = [pair("made", "text 1", "catalogue"), pair("tea", "text 2"), pair("tea", "text 3"), pair("pan", "text 4")]
    asked, texts = validation_set(pairs, Texts(), 1)  # type: ignore[arg-type]
    assert asked == {"tea": {"text 2": 1.0, "text 3": 1.0}, "pan": {"text 4": 1.0}}
    assert len(texts) == len(set(texts)) == 803 and {"text 2", "text 3", "text 4"} <= set(texts)
    asked, _ = validation_set(pairs[:1], Texts(), 1)  # type: ignore[arg-type]
    assert asked == {"made": {"text 1": 1.0}}


@dataclass(frozen=True)
class Ranking:
    """As much of a finder as choosing asks for: puts the answer first for the queries that the weights are good for."""

    fusion: FusionSettings
    good: Mapping[float, range]  # for which queries, by the weight of the lexical index

    def find(self, query: str, k: int) -> list[Any]:
        rows = (0, 1) if int(query) in self.good.get(self.fusion.lexical / self.fusion.vector, ()) else (1, 0)
        return [SimpleNamespace(row=row) for row in rows]


@pytest.mark.parametrize(
    ("good", "chosen"),
    [
        ({1.0: range(50), 0.5: range(45, 100), 0.25: range(1)}, (1.0, 1.0)),  # 55 are better, 50 worse: that is noise
        ({1.0: range(50), 0.5: range(90), 0.25: range(90)}, (0.5, 1.0)),  # 40 are better: of two as good the evener
    ],
)
def test_the_fusion_leaves_even_weights_for_a_reason_only(
    good: Mapping[float, range], chosen: tuple[float, float]
) -> None:
    asked = {str(n): {"answer": 1.0} for n in range(100)}
    found, figures = choose_fusion(asked, Ranking(FusionSettings(), good), ["answer", "other"])  # type: ignore[arg-type]
    assert (found.lexical, found.vector) == chosen and len(figures) == 5


def test_share_without_validation_is_one_half(tiny_base: Path) -> None:
    from models.encoder import load_base

    model = load_base(str(tiny_base))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert choose_share(model, before, training_tokenizer(str(tiny_base), 16), {}, []) == (0.5, {})


def shop(put: Callable[..., Any], source: str = "click") -> None:
    """Forty items, a search for each; four in five are for training."""
    names = [f"{colour} {thing}" for colour in ("red", "green", "blue", "black") for thing in
             ("shoe", "kettle", "lamp", "phone", "table", "spoon", "towel", "clock", "bottle", "chair")]  # fmt: skip
    put("toy", "safe", "items", [{"item_id": f"i{n:02}", "title": name, "language": "en", "known_time": KNOWN,
                                  "simulated": False} for n, name in enumerate(names)])  # fmt: skip
    put("toy", "examples", "encoder", [
        {"query": name, "language": "en", "item_id": f"i{n:02}", "source": source, "weight": 1.0,
         "split": "validation" if n % 5 == 0 else "train"} for n, name in enumerate(names)])  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_train_gives_a_sealed_bundle_with_what_validation_chose(put: Callable[..., Any], tiny_base: Path) -> None:
    from models.bundle import open_bundle
    from models.encoder import Encoder

    shop(put)
    bundle = open_bundle(train("toy", str(tiny_base), 64, 1))
    assert (bundle.shop, bundle.name, bundle.kind) == ("toy", "search", "hybrid search")
    assert set(bundle.files) == {"encoder.onnx", "tokenizer.json", "encoder.json"}
    settings = bundle.settings
    assert settings["learnt"] == 32 and len(settings["losses"]) == 1 and settings["validation"]["queries"] == 8
    assert set(settings["validation"]["shares"]) == {"0", "0.5", "1"}
    assert len(settings["validation"]["fusions"]) == 5
    assert [name.split("@")[0] for name in bundle.data] == ["examples/encoder/whole", "safe/items/whole"]
    assert Encoder.open(bundle.folder).encode(["red shoe"]).shape == (1, 32)
    assert open_bundle(train("toy", str(tiny_base), 64, 1)).sha256 == bundle.sha256  # same input, same seed, same bytes


@pytest.mark.filterwarnings("ignore")
def test_catalogue_pairs_alone_leave_the_fusion_even(put: Callable[..., Any], tiny_base: Path) -> None:
    from models.bundle import open_bundle

    shop(put, "catalogue")
    settings = open_bundle(train("toy", str(tiny_base), 8, 1)).settings
    assert settings["validation"]["fusions"] == {}
    assert (settings["fusion"]["lexical"], settings["fusion"]["vector"]) == (1.0, 1.0)


def test_nothing_to_learn_from(put: Callable[..., Any], tiny_base: Path) -> None:
    put("toy", "safe", "items", [{"item_id": "i", "title": "t", "known_time": KNOWN, "simulated": False}])
    with pytest.raises(Problem, match="examples encoder"):
        train("toy", str(tiny_base), 10, 1)
    with pytest.raises(Problem, match="pairs"):
        train("toy", str(tiny_base), 1, 1)
