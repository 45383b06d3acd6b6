"""`python -m models train MODEL`: open a run, train, register the bundle as candidate."""

import argparse
from collections.abc import Callable
from pathlib import Path

from jobs.console import grid, narrate
from jobs.warehouse import warehouse
from models import registry, tracking
from models.bundle import bundles, open_bundle

BUNDLE = {"encoder": "search", "recommender": "recommend"}


def _trainer(args: argparse.Namespace) -> Callable[[], Path]:
    """The training that a model name stands for; its imports are heavy, so they wait until here."""
    if args.model == "encoder":
        from models.training import encoder

        return lambda: encoder.train(args.shop, args.base, args.pairs, args.seed)
    from models.training import recommender

    return lambda: recommender.train(args.shop, args.seed)


def train(args: argparse.Namespace) -> None:
    """Train `args.model` for `args.shop`; ends with a candidate in the registry, as a run in MLflow."""
    warehouse(args.shop)  # an unknown shop is said before anything heavy is imported
    name = BUNDLE[args.model]
    params = {"model": args.model, "seed": args.seed}
    if args.model == "encoder":
        params |= {"base": args.base, "pairs": args.pairs}
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
        version = registry.register(args.shop, name, folder, run.id, {"model": args.model, "seed": args.seed})
    kept = open_bundle(bundles(args.shop, name) / str(version))
    size = sum((kept.folder / file).stat().st_size for file in kept.files) / 1e6
    print(grid(["bundle", "version", "alias", "MB", "files"],
               [[f"{args.shop}.{name}", version, "candidate", round(size, 1), len(kept.files)]]))  # fmt: skip
    print(f"lies in {kept.folder}; run {run.id} in {tracking.tracking_uri()}")
    print(f"next: python -m models evaluate {name} --shop {args.shop}")


def _plain(settings: object, prefix: str = "") -> dict[str, object]:
    """Settings as flat parameters: nested names joined by dots; lists and figures are not parameters."""
    out: dict[str, object] = {}
    for key, value in settings.items() if hasattr(settings, "items") else ():
        if hasattr(value, "items"):
            out |= {} if key == "validation" else _plain(value, f"{prefix}{key}.")
        elif not isinstance(value, list):
            out[f"{prefix}{key}"] = value
    return out
