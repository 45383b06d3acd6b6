"""`python -m models train MODEL`: open a run, train, register the bundle as candidate."""

import argparse
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jobs.console import Problem, Usage, grid, narrate
from jobs.warehouse import warehouse
from models import registry, tracking
from models.bundle import bundles, open_bundle

BUNDLE = {"encoder": "search", "recommender": "recommend"}
PRIVATELY = ("recommender",)
USUAL_EPSILON = 3.0


def _trainer(args: argparse.Namespace) -> Callable[[], Path]:
    """The training that a model name stands for; its imports are heavy, so they wait until here."""
    if args.model == "encoder":
        from models.training import encoder

        return lambda: encoder.train(args.shop, args.base, args.pairs, args.seed)
    if args.private:
        from models.training import private_recommender

        return lambda: private_recommender.train(args.shop, args.seed, args.epsilon, args.delta)
    from models.training import recommender

    return lambda: recommender.train(args.shop, args.seed)


def _check_privacy(args: argparse.Namespace) -> None:
    """Refuse what cannot be promised before anything is read: `Usage`, or a `Problem` if Opacus is not installed."""
    if not args.private:
        if args.epsilon is not None or args.delta is not None:
            raise Usage("--epsilon and --delta belong to private training", do="add --private, or leave them out")
        return
    if args.model not in PRIVATELY:
        raise Usage(f"the {args.model} cannot be trained by visitor: its pairs of query and item name none",
                    do=f"leave --private out, or train one of: {', '.join(PRIVATELY)}")  # fmt: skip
    from models.training.privacy import check_epsilon

    args.epsilon = check_epsilon(USUAL_EPSILON if args.epsilon is None else args.epsilon)
    if find_spec("opacus") is None:
        raise Problem(
            "private training needs Opacus, which is not installed", do="pip install -c constraints.txt opacus"
        )


def train(args: argparse.Namespace) -> None:
    """Train `args.model` for `args.shop`; ends with a candidate in the registry, as a run in MLflow."""
    _check_privacy(args)
    warehouse(args.shop)  # an unknown shop is said before anything heavy is imported
    name = BUNDLE[args.model]
    params = {"model": args.model, "seed": args.seed}
    if args.model == "encoder":
        params |= {"base": args.base, "pairs": args.pairs}
    if args.private:
        params |= {"private": True}
    with narrate(f"train {args.model}"), tracking.run(args.shop, name, params, step="train") as run:
        folder = _trainer(args)()
        sealed = open_bundle(folder)
        run.params({key: value for key, value in _plain(sealed.settings).items() if key not in params})
        run.metrics({f"validation.{key}".replace(" ", "_"): value for key, value in
                     sealed.settings.get("validation", {}).items() if isinstance(value, int | float)})  # fmt: skip
        for step, loss in enumerate(sealed.settings.get("losses", [])):
            run.metrics({"loss": loss}, step)
        run.tags({"endcap.data": ", ".join(sealed.data), "endcap.bundle": sealed.sha256})
        run.artifact(folder / "bundle.json")
        words = {"model": args.model, "seed": args.seed, **_promised(sealed.settings)}
        version = registry.register(args.shop, name, folder, run.id, words)
    kept = open_bundle(bundles(args.shop, name) / str(version))
    size = sum((kept.folder / file).stat().st_size for file in kept.files) / 1e6
    print(grid(["bundle", "version", "alias", "MB", "files"],
               [[f"{args.shop}.{name}", version, "candidate", round(size, 1), len(kept.files)]]))  # fmt: skip
    if promised := kept.settings.get("privacy"):
        from models.training.private_recommender import words as said

        print(said(promised))
    print(f"lies in {kept.folder}; run {run.id} in {tracking.tracking_uri()}")
    print(f"next: python -m models evaluate {name} --shop {args.shop}")


def _promised(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The promise about a visitor as tags of the version; none for a model that was trained plainly."""
    found = settings.get("privacy")
    if not found:
        return {}
    named = {f"privacy.{key}": found[key] for key in ("unit", "epsilon", "delta", "accountant", "randomness")}
    return {
        **named,
        "privacy.covers": ", ".join(found["covers"]),
        "privacy.not_covered": ", ".join(found["not_covered"]),
    }


def _plain(settings: object, prefix: str = "") -> dict[str, object]:
    """Settings as flat parameters: nested names joined by dots; lists and figures are not parameters."""
    out: dict[str, object] = {}
    for key, value in settings.items() if hasattr(settings, "items") else ():
        if hasattr(value, "items"):
            out |= {} if key == "validation" else _plain(value, f"{prefix}{key}.")
        elif not isinstance(value, list):
            out[f"{prefix}{key}"] = value
    return out
