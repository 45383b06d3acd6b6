"""The encoder's training: in-batch negatives, half the network frozen, and weights mixed with the untrained ones.

For a batch of pairs (query, item text), each query must find its own text among the texts of the batch, and each text
its own query (Henderson 2017; InfoNCE with a temperature). A text that stands twice in the batch is not a negative of
itself, nor is a text that another pair says answers the same query. A pair counts by its weight (inverse propensity).

What is chosen is chosen on the validation pairs, never on judgements: the share of the fine-tuned weights
(0 is the untrained encoder, 1 the fine-tuned; Wortsman 2022) and, where real searches were logged, the weights of the
fusion. A click on what the old ranking had hidden counts for more (inverse propensity; Joachims 2017): else whatever is
most like the old ranking would be chosen. Queries made from the catalogue repeat an item's own words, so they would
always ask for the lexical index alone: on them alone the fusion keeps its equal weights.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.console import Problem, narrate, say
from jobs.tables import WHOLE
from jobs.warehouse import warehouse
from models.bundle import building, seal
from models.encoder import Encoder, Precision, base_folder, export, item_text, load_base, normalise, padded, pooled
from models.retrieval.fusion import FusionSettings
from models.retrieval.indexing import Catalogue, catalogue, vectors_of
from models.retrieval.lexical import Lexical, LexicalSettings
from models.retrieval.searching import Finder
from models.retrieval.vectors import Vectors
from models.training import loop

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

KIND = "hybrid search"
SHARES = (0.0, 0.5, 1.0)
FUSIONS = ((1.0, 0.25), (1.0, 0.5), (1.0, 1.0), (0.5, 1.0), (0.25, 1.0))  # (lexical, vector)
LEARNT = ("encoder", "encoder_visitors")
VALIDATION_QUERIES = 200
VALIDATION_TEXTS = 800


@dataclass(frozen=True)
class EncoderTraining:
    """How the encoder was fine-tuned; saved with the bundle, with the device that it was trained on.

    `frozen`: the share of lower layers left as they were.
    """

    pairs: int
    batch: int = 64
    rate: float = 3e-5
    temperature: float = 0.05
    frozen: float = 0.5
    max_length: int = 48
    seed: int = 1
    precision: Precision = "int8"  # twice as fast as float32; nDCG was not hurt (docs of models/encoder.py)
    device: str = "auto"


@dataclass(frozen=True)
class Pair:
    """A query, the text that answers it, and how much the pair counts."""

    query: str
    text: str
    weight: float
    item_id: str
    source: str


# --- The pairs ---


def read_pairs(shop: str, of: Catalogue, split: str) -> list[Pair]:
    """The pairs of one split, joined with the items' texts; items that the catalogue lost are left out."""
    house = warehouse(shop)
    house.require("examples", "encoder", step="examples encoder")
    row_of = of.rows_by_id()
    documents = of.documents()
    rows = house.read("examples", "encoder").to_pylist()
    return [
        Pair(row["query"], text_for(row, documents[row_of[row["item_id"]]], of.texts[row_of[row["item_id"]]]),
             float(row["weight"]), row["item_id"], row["source"])
        for row in rows
        if row["split"] == split and row["item_id"] in row_of
    ]  # fmt: skip


def text_for(row: Mapping[str, Any], fields: Mapping[str, str | None], whole: str) -> str:
    """The text a pair is trained with: the item's whole text; but for every other pair from the catalogue, the text
    without the title, for the query was cut from the title and could be matched by its letters."""
    if row["source"] != "catalogue" or row["split"] != "train" or _draw(row["query"], row["item_id"]) % 2:
        return whole
    rest = item_text(None, fields["brand"], fields["category"], fields["description"])
    return rest if len(rest.split()) >= 3 else whole


def _draw(*parts: str) -> int:
    """A number from texts, the same on every machine."""
    return int.from_bytes(hashlib.sha256("\x1f".join(parts).encode()).digest()[:8], "big")


def chosen(pairs: Sequence[Pair], budget: int, seed: int) -> list[Pair]:
    """At most `budget` pairs in a random order of `seed`: logged ones first, since real searches teach more."""
    drawn = {pair: _draw(str(seed), pair.query, pair.item_id, pair.source) for pair in pairs}
    first = sorted(drawn, key=lambda pair: (pair.source == "catalogue", drawn[pair]))
    return sorted(first[:budget], key=drawn.__getitem__)


def batched(pairs: Sequence[Pair], size: int) -> list[list[Pair]]:
    """Batches of `size`; a last one of fewer than two pairs has no negatives and is left out."""
    parts = [list(pairs[first : first + size]) for first in range(0, len(pairs), size)]
    return [part for part in parts if len(part) > 1]


def allowed(queries: Sequence[str], texts: Sequence[str]) -> list[list[bool]]:
    """Which text may count against which query: not one that answers it, in this batch, under another pair.

    The pair itself (the diagonal) always counts.

    >>> allowed(["a", "a", "b"], ["x", "y", "y"])
    [[True, False, False], [False, True, False], [True, False, True]]
    """
    answers: dict[str, set[str]] = {}
    for query, text in zip(queries, texts, strict=True):
        answers.setdefault(query, set()).add(text)
    return [[i == j or text not in answers[query] for j, text in enumerate(texts)] for i, query in enumerate(queries)]


# --- The loss ---


def contrast(
    queries: "torch.Tensor", texts: "torch.Tensor", mask: "torch.Tensor", weights: "torch.Tensor", temperature: float
) -> "torch.Tensor":
    """Weighted mean of both directions' cross-entropy; `mask` (n, n) says which text counts against which query."""
    import torch
    from torch.nn.functional import cross_entropy

    scores = (queries @ texts.T / temperature).masked_fill(~mask, -1e4)
    target = torch.arange(len(scores))
    both = cross_entropy(scores, target, reduction="none") + cross_entropy(scores.T, target, reduction="none")
    mean: torch.Tensor = (both * weights).sum() / (2 * weights.sum())
    return mean


def _embed(model: Any, tokenizer: Any, texts: Sequence[str]) -> "torch.Tensor":
    import torch

    encodings = tokenizer.encode_batch_fast([normalise(text) for text in texts])
    ids, mask = padded([e.ids for e in encodings], int(model.config.pad_token_id or 0))
    tokens, attention = torch.from_numpy(ids), torch.from_numpy(mask)
    device = next(model.parameters()).device
    tokens, attention = tokens.to(device), attention.to(device)
    vectors: torch.Tensor = pooled(model(input_ids=tokens, attention_mask=attention).last_hidden_state, attention)
    return vectors


def _loss(tokenizer: Any, temperature: float, model: Any, batch: Sequence[Pair]) -> "torch.Tensor":
    import torch

    queries, texts = [pair.query for pair in batch], [pair.text for pair in batch]
    weights = torch.tensor([pair.weight for pair in batch], dtype=torch.float32)
    return contrast(
        _embed(model, tokenizer, queries).cpu(), _embed(model, tokenizer, texts).cpu(),
        torch.tensor(allowed(queries, texts)), weights, temperature,
    )  # fmt: skip


def freeze(model: Any, share: float) -> int:
    """Leave the embeddings and the lower `share` of the layers as they are; returns how many weights still learn."""
    layers = getattr(getattr(model, "encoder", None), "layer", None)
    if layers is not None and share > 0:
        for part in (model.embeddings, *list(layers)[: int(len(layers) * share)]):
            for weight in part.parameters():
                weight.requires_grad_(False)
    pooler = getattr(model, "pooler", None)
    for weight in pooler.parameters() if pooler is not None else ():
        weight.requires_grad_(False)  # the vectors are means of tokens: the pooler is not asked
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


# --- What is chosen on validation ---


def mix(untrained: Mapping[str, Any], trained: Mapping[str, Any], share: float) -> dict[str, Any]:
    """Weights between the two: `share` of the trained ones; whole numbers stay as they are."""
    return {
        name: (old + share * (trained[name] - old)) if old.is_floating_point() else trained[name]
        for name, old in untrained.items()
    }


Asked = Mapping[str, Mapping[str, float]]
"""Queries with the texts that answer them, and how much each counts."""


def validation_set(pairs: Sequence[Pair], of: Catalogue, seed: int) -> tuple[Asked, list[str]]:
    """Queries with what answers them, and the texts to rank: all answers, and others drawn by `seed`.

    Logged queries if there are any, else those from the catalogue.
    """
    logged = [pair for pair in pairs if pair.source != "catalogue"]
    asked: dict[str, dict[str, float]] = {}
    for pair in sorted(logged or pairs, key=lambda p: (_draw(str(seed), p.query), p.item_id)):
        if pair.query in asked or len(asked) < VALIDATION_QUERIES:
            weights = asked.setdefault(pair.query, {})
            weights[pair.text] = weights.get(pair.text, 0.0) + pair.weight
    answers = {text for weights in asked.values() for text in weights}
    others = sorted((text for text in of.texts if text not in answers), key=lambda text: _draw(str(seed), text))
    return asked, [*sorted(answers), *others[:VALIDATION_TEXTS]]


def gains(asked: Asked, ranked: Iterable[Sequence[str]]) -> list[float]:
    """By query, in their order, the DCG@10 of its answers, each by its weight."""
    return [
        sum(weight / math.log2(2 + best.index(text)) for text, weight in answers.items() if text in best)
        for answers, best in zip(asked.values(), ranked, strict=True)
    ]


def weights_of(asked: Asked) -> list[float]:
    """By query, what its answers weigh together."""
    return [sum(answers.values()) for answers in asked.values()]


def gained(asked: Asked, ranked: Iterable[Sequence[str]]) -> float:
    """The mean DCG@10 of the answers by their weights.

    With inverse propensities as weights it is an estimate of what the rankings gain, whatever was shown before
    (self-normalised; Swaminathan and Joachims 2015).

    >>> gained({"q": {"a": 1.0, "b": 3.0}}, [["b", "x", "a"]])
    0.875
    """
    return sum(gains(asked, ranked)) / (sum(weights_of(asked)) or 1.0)


def noise(one: Sequence[float], other: Sequence[float], weights: Sequence[float]) -> float:
    """The standard error of the difference of two means by weight over the same queries (of a ratio; Cochran 1977).

    >>> noise([1.0, 1.0], [0.5, 0.5], [1.0, 1.0]), round(noise([1.0, 0.0], [0.0, 0.0], [1.0, 1.0]), 3)
    (0.0, 0.5)
    """
    whole, count = sum(weights), len(weights)
    mean = sum(a - b for a, b in zip(one, other, strict=True)) / whole
    off = sum((a - b - mean * w) ** 2 for a, b, w in zip(one, other, weights, strict=True))
    return math.sqrt(off * count / max(count - 1, 1)) / whole


def ranked_score(model: Any, tokenizer: Any, asked: Asked, texts: Sequence[str]) -> float:
    """What the validation queries gain over `texts`, by vectors alone."""
    import numpy as np

    scores = embedded(model, tokenizer, list(asked)) @ embedded(model, tokenizer, texts).T
    best = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    return gained(asked, [[texts[row] for row in rows] for rows in best])


def embedded(model: Any, tokenizer: Any, lines: Sequence[str]) -> "NDArray[np.float32]":
    """Vectors (lines, dimensions) by the torch model itself, before any export."""
    import numpy as np
    import torch

    order = sorted(range(len(lines)), key=lambda row: len(lines[row]))
    batches = [[lines[row] for row in order[at : at + 64]] for at in range(0, len(order), 64)]
    with torch.no_grad():
        found = torch.cat([_embed(model, tokenizer, batch) for batch in batches]).cpu().numpy()
    back: NDArray[np.float32] = np.empty_like(found)
    back[order] = found
    return back


def choose_fusion(asked: Asked, finder: Finder, texts: Sequence[str]) -> tuple[FusionSettings, dict[str, float]]:
    """The weights of the fusion by which validation queries gain, whole catalogue; and all figures.

    Of those within one standard error of the best the most equal ones: a small difference is noise (Breiman 1984).
    """
    weights, figures = weights_of(asked), dict[str, float]()
    tried: list[tuple[float, list[float], FusionSettings]] = []
    for lexical, vector in sorted(FUSIONS, key=lambda pair: abs(pair[0] - pair[1])):
        fusion = replace(finder.fusion, lexical=lexical, vector=vector)
        one = replace(finder, fusion=fusion)
        got = gains(asked, [[texts[found.row] for found in one.find(query, 10)] for query in asked])
        tried.append((sum(got) / (sum(weights) or 1.0), got, fusion))
        figures[f"lexical {lexical:g}, vector {vector:g}"] = round(tried[-1][0], 6)
    most, best, _ = max(tried, key=lambda each: each[0])
    near = [fusion for mean, got, fusion in tried if not asked or most - mean <= noise(best, got, weights)]
    return near[0], figures


# --- The way from a base to a bundle ---


def data_names(shop: str) -> list[str]:
    """The marks a search bundle is made from."""
    house = warehouse(shop)
    marks = (house.mark("safe", "items", WHOLE), *(house.mark("examples", name, WHOLE) for name in LEARNT))
    return [mark.name for mark in marks if mark is not None]


def settings_of(
    base: str, encoder: Encoder, fusion: FusionSettings, training: EncoderTraining | None, **more: Any
) -> dict[str, Any]:
    """Everything a search bundle needs beside its files."""
    return {
        "base": encoder.settings.base, "encoder": asdict(encoder.settings), "encoder_hash": encoder.hash,
        "lexical": {"boosts": dict(LexicalSettings().boosts)}, "fusion": asdict(fusion),
        "training": asdict(training) if training else None, **more,
    }  # fmt: skip


def fine_tune(
    model: Any,
    tokenizer: Any,
    pairs: Sequence[Pair],
    settings: EncoderTraining,
    on_step: Callable[[int, float], None] | None = None,
) -> loop.History:
    """One pass over the pairs by the one loop; `model` learns in place."""
    say(f"  {freeze(model, settings.frozen):,} weights learn from {len(pairs):,} pairs")
    groups = batched(pairs, settings.batch)
    if not groups:
        raise Problem("fewer than two training pairs", do="run 'python -m jobs examples encoder' over more days")
    how = loop.Settings(epochs=1, rate=settings.rate, seed=settings.seed, device=settings.device)
    return loop.fit(model, lambda epoch: groups, partial(_loss, tokenizer, settings.temperature), how, on_step=on_step)


def training_tokenizer(base: str, max_length: int) -> Any:
    """The base's tokenizer, cut at `max_length` tokens."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(base_folder(base) / "tokenizer.json"))
    tokenizer.enable_truncation(max_length)
    tokenizer.no_padding()
    return tokenizer


def train(shop: str, base: str = "minilm", pairs: int = 2000, seed: int = 1) -> Path:
    """Fine-tune `base` on at most `pairs` pairs; returns a sealed bundle with what validation chose."""
    if pairs < 2:
        raise Problem(f"{pairs} pairs teach nothing", do="give --pairs 2 or more")
    settings = EncoderTraining(pairs=pairs, seed=seed)
    tokenizer = training_tokenizer(base, settings.max_length)  # a base that cannot be had fails before any work
    of = catalogue(shop)
    taught = chosen(read_pairs(shop, of, "train"), pairs, seed)
    held = read_pairs(shop, of, "validation")
    with narrate(f"fine-tuning {base}"):
        loop.seed_everything(seed)
        model = load_base(base)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        losses: list[float] = []
        history = fine_tune(model, tokenizer, taught, settings, lambda step, loss: losses.append(round(loss, 6)))
        model.to("cpu")
        settings = replace(settings, device=history.device)
    asked, texts = validation_set(held, of, seed)
    with narrate("share of the fine-tuned weights, by validation"):
        share, shares = choose_share(model, before, tokenizer, asked, texts)
    with building(shop, "search") as folder:
        with narrate("export"):
            export(model, base, folder, precision=settings.precision)
        encoder = Encoder.open(folder)
        fusion, fusions = FusionSettings(), dict[str, float]()
        if any(pair.source != "catalogue" for pair in held):
            with narrate("weights of the fusion, by validation"):
                vectors = Vectors(vectors_of(shop, encoder, of.texts))
                finder = Finder(Lexical.build(of.documents()), vectors, encoder, fusion)
                fusion, fusions = choose_fusion(asked, finder, of.texts)
        validation = {"queries": len(asked), "dcg@10": shares.get(f"{share:g}"), "shares": shares, "fusions": fusions}
        sealed = settings_of(
            base, encoder, fusion, settings, share=share, learnt=len(taught),
            logged=sum(pair.source != "catalogue" for pair in taught), losses=losses, validation=validation,
        )  # fmt: skip
        say(f"  {len(taught) / max(history.seconds, 1e-9):.1f} pairs/s; share of the fine-tuned weights {share:g}")
        seal(folder, shop=shop, name="search", kind=KIND, settings=sealed, data=data_names(shop))
        return folder


def choose_share(
    model: Any, before: Mapping[str, Any], tokenizer: Any, asked: Asked, texts: Sequence[str],
    shares: Iterable[float] = SHARES,
) -> tuple[float, dict[str, float]]:  # fmt: skip
    """The share with the best validation figure; `model` ends with its weights. Without validation: one half."""
    after = {name: value.clone() for name, value in model.state_dict().items()}
    figures: dict[str, float] = {}
    best, top = 0.5, -1.0
    for share in shares if asked else ():
        model.load_state_dict(mix(before, after, share))
        figures[f"{share:g}"] = round(ranked_score(model, tokenizer, asked, texts), 6)
        if figures[f"{share:g}"] > top:
            best, top = share, figures[f"{share:g}"]
    model.load_state_dict(mix(before, after, best))
    return best, figures
