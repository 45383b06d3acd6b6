"""`python -m jobs`: parse, and hand over to the step. Nothing heavy is imported before a step runs."""

import argparse
import sys
from datetime import date
from pathlib import Path

from jobs.console import Parser, run_command
from jobs.entry import entered
from jobs.sources import names
from jobs.tables import DELIVERED, ZONES


def day(text: str) -> date:
    """A day of a command line, as `date`."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a day; write it like 2017-01-31") from None


def _range(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--first", type=day, metavar="DAY", help="first day (UTC); default: all that the step before has"
    )
    command.add_argument("--last", type=day, metavar="DAY", help="last day (UTC), included")


def _stale(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command.add_argument(
        "--stale", action="store_true", help="only days that are missing, or whose inputs changed since"
    )
    return command


def parser() -> Parser:
    """Every command of the data room."""
    top = Parser(prog="python -m jobs", description="Tables: from a shop's files to its features.")
    common = Parser(add_help=False)
    common.add_argument("--verbose", action="store_true", help="show tracebacks")
    shop = Parser(add_help=False, parents=[common])
    shop.add_argument("--shop", required=True, metavar="SHOP", help="the shop's name")
    commands = top.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)

    def command(name: str, step: str, help: str, *, of_shop: bool = True) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help, description=help, parents=[shop if of_shop else common])
        added.set_defaults(step=step, command=name)
        return added

    def traced(name: str, step: str, help: str, *, of_shop: bool = True) -> argparse.ArgumentParser:
        """A step of the tables: it runs between the events that tell of it."""
        added = command(name, "jobs.tracing:run", help, of_shop=of_shop)
        added.set_defaults(traced=step)
        return added

    load = traced("import", "jobs.importing:run", "shop files -> raw tables", of_shop=False)
    load.add_argument("shop", metavar="SHOP", choices=names(), help=f"which source: {', '.join(names())}")
    load.add_argument("--from", dest="folder", metavar="DIR", help="folder with the shop's files, or its s3:// address")
    load.add_argument(
        "--check", action="store_true", help="files: only look at the mapping; propose one if none is there"
    )
    load.add_argument(
        "--scale", type=float, default=1.0, help="size of the generated shop (sample) or of what is simulated"
    )
    load.add_argument("--tables", metavar="NAMES", help="only these tables: items,visitors,...")
    load.add_argument("--seed", type=int, default=1, help="seed of the simulator")
    _range(load)

    scrub = traced("clean", "jobs.cleaning:run", "raw -> clean; refused rows -> quarantine with a reason")
    hide = traced("anonymise", "jobs.anonymising:run", "clean -> safe; identifiers out, pseudonyms in, texts scrubbed")
    judge = traced("validate", "jobs.validating:run", "safe: proposed -> published, or the run stops")
    count = traced("aggregate", "jobs.aggregating:run", "safe -> stats, each true at a point in time")
    judge.add_argument(
        "--accept", action="store_true", help="publish days that are only unlike others, and right all the same"
    )
    for dated in (scrub, hide, judge, count):
        _range(_stale(dated))
    bring = traced(
        "materialise", "jobs.materialising:run", "stats -> Feast's online store: what is new since the last time"
    )
    bring.add_argument(
        "--compact", action="store_true", help="afterwards, remove what is expired from the online store"
    )
    _range(bring)
    skewed = command("skew", "jobs.skew:run", "do look-ups equal what training was told? moments of the past replayed")
    skewed.add_argument("--sample", type=int, default=10_000, metavar="N", help="draws of entities in all (10000)")
    skewed.add_argument("--moments", type=int, default=8, metavar="N", help="moments, the last the present (8)")
    skewed.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the draws (1)")
    examples = traced("examples", "jobs.examples:run", "training sets by a point-in-time join, split by time")
    examples.add_argument("model", metavar="MODEL", choices=("recommender", "encoder"), help="recommender or encoder")
    examples.add_argument(
        "--as-of", type=day, metavar="DAY", help="the end of what may be known; default: the last day"
    )

    shown = command("tables", "jobs.showing:tables", "every table: days, rows, bytes, marks")
    shown.add_argument("--zone", choices=ZONES, metavar="ZONE", help="only this zone")
    shown.add_argument("--lineage", metavar="TABLE", help="instead, the inputs of one partition, down to the files")
    shown.add_argument("--day", type=day, metavar="DAY", help="of which day; default: the last")
    refused = command("quarantine", "jobs.showing:quarantine", "refused rows by reason, with masked examples")
    refused.add_argument("--table", choices=DELIVERED, metavar="TABLE", help="only this table")
    refused.add_argument("--reason", help="only this reason code")
    refused.add_argument(
        "--examples", type=int, default=0, metavar="N", help="show N rows of each reason, values masked"
    )
    refused.add_argument("--replay", action="store_true", help="send the rows through again, after a fix")
    command("law", "jobs.showing:law", "the counting law, checked and printed by step and reason")

    _range(command("scan", "jobs.residue:run", "search all below the closed zone for what tells who a visitor is"))
    levels = command("policy", "jobs.generalising_policy:run", "how much detail visitors keep: levels, k, l, loss")
    levels.add_argument("--refit", action="store_true", help="fit new levels on the visitors of now: a new version")
    command("attack", "jobs.attacks:run", "attack what is published: who can be found again, and by how few points")

    tidy = command("collect", "jobs.keeping:collect", "remove attempts that no mark points to")
    tidy.add_argument(
        "--keep-hours", type=float, default=24.0, metavar="N", help="keep what a reader may still use: N hours (24)"
    )
    tidy.add_argument("--dry-run", action="store_true", help="only list")

    old = command("retire", "jobs.keeping:retire", "remove days that are too old, after listing what goes")
    old.add_argument("--before", type=day, metavar="DAY", required=True, help="the first day (UTC) that stays")
    old.add_argument("--zone", choices=ZONES, metavar="ZONE", help="only this zone; default: all")
    old.add_argument("--dry-run", action="store_true", help="only list")
    old.add_argument("--yes", action="store_true", help="do not ask")
    pack = command("compact", "jobs.keeping:compact", "many small files of a partition -> one, the same rows")
    pack.add_argument("--zone", choices=ZONES, metavar="ZONE", help="only this zone; default: all")
    pack.add_argument("--dry-run", action="store_true", help="only list")

    turn = command("rotate", "jobs.rotating:run", "a new pseudonym key; with --destroy, the older ones go for good")
    turn.add_argument("--destroy", action="store_true", help="overwrite and remove the keys of older epochs")
    turn.add_argument("--dry-run", action="store_true", help="only tell")
    turn.add_argument("--yes", action="store_true", help="do not ask")
    out = command("release", "jobs.releasing:run", "counts for outside, with noise that is paid from a budget")
    out.add_argument("--table", required=True, metavar="TABLE", choices=("purchases", "searches"),
                     help="purchases (by month and category) or searches (visitors by query)")  # fmt: skip
    out.add_argument("--epsilon", required=True, metavar="NUMBER", help="what the release may cost; smaller is noisier")
    _range(out)
    book = command("audit", "jobs.audit:run", "who read or changed what of the closed zone")
    book.add_argument("--last-lines", type=int, default=20, metavar="N", help="show the last N lines (20)")
    book.add_argument("--verify", action="store_true", help="check that no line was changed or taken out")
    book.add_argument("--head", metavar="HASH", help="with --verify: a hash that was the last line's at some time")
    command("privacy", "jobs.privacy_page:run", "the privacy officer's page: what was removed, and what attacks found")

    words = command("dictionary", "jobs.dictionary:run", "every table and column in words, as a page", of_shop=False)
    words.add_argument("--shop", metavar="SHOP", help="with this shop's days and rows")

    features = command("features", "jobs.showing_features:run", "feature look-ups for people", of_shop=False)
    what = features.add_subparsers(metavar="WHAT", required=True, parser_class=Parser, dest="what")
    what.add_parser("list", help="every feature with its meaning", parents=[shop])
    told = what.add_parser("describe", help="one feature or view: owner, type, source, who uses it", parents=[shop])
    get = what.add_parser("get", help="values now, with their event times", parents=[shop])
    past = what.add_parser("history", help="values over time, with when each was known", parents=[shop])
    two = what.add_parser("compare", help="what was known at two moments, side by side", parents=[shop])
    for asked in (told, past):
        asked.add_argument("name", metavar="NAME", help="a feature, VIEW:FEATURE, or a view")
    for name in ("earlier", "later"):
        two.add_argument(name, metavar="MOMENT", help="a day (its end), or a time like 2017-01-31T12:00:00Z")
    for asked in (get, past, two):
        asked.add_argument("--visitor", help="the shop's own id of a visitor")
        asked.add_argument("--item", help="an item id")
        asked.add_argument("--query", help="a query")
        asked.add_argument("--category", help="a category, beside a visitor")
    watch = what.add_parser("check", help="freshness and drift; exit 3 if there is an alarm", parents=[shop])
    watch.set_defaults(step="jobs.watching:run")
    page = what.add_parser("catalogue", help="every feature on a page: who owns, uses and wrote it", parents=[shop])
    page.set_defaults(step="jobs.catalogue:run")

    forget = command("erase", "jobs.erasing:run", "take a person out of everything, with a signed certificate")
    forget.add_argument(
        "--models", choices=("list", "retrain", "retire"), default="list", metavar="POLICY",
        help="of models that learnt from them: list (default), retrain or retire",
    )  # fmt: skip
    forget.add_argument("--by", metavar="WHO", help="who decided it, for the certificate; default: the user")
    forget.add_argument("--later", action="store_true", help="only write a request down, and print its name")
    forget.add_argument("--request", metavar="NAME", help="erase whom a request names")
    forget.add_argument("--verify", type=Path, metavar="FILE", help="instead, check a certificate")
    hand = command("export", "jobs.exporting:run", "all that is held of a person, as JSON")
    hand.add_argument("--out", type=Path, metavar="FILE", help="where to; default: the shop's folder of exports")
    for about in (forget, hand):
        about.add_argument("--visitor", action="append", metavar="ID", help="the shop's own id; may be given again")
        about.add_argument("--visitors", metavar="FILE", help="a file of ids, one a line; - is standard input")

    erase = command("reset", "jobs.house.reset:run", "empty a shop's home after listing what goes")
    erase.add_argument("--dry-run", action="store_true", help="only list")
    erase.add_argument("--yes", action="store_true", help="do not ask")

    command(
        "doctor", "jobs.house.doctor:run", "judge the machine and the state, and say how to mend each", of_shop=False
    )
    command("demo", "jobs.house.demo:run", "a first useful result on the sample shop, in seconds", of_shop=False)
    command("warm", "jobs.house.warming:run", "keep Spark's classes, so that steps start sooner", of_shop=False)
    up = command("up", "jobs.house.services:up", "start Airflow, MLflow, Feast's UI and the API on loopback")
    up.add_argument("--wait", type=float, default=180.0, metavar="SECONDS", help="how long each may take to answer")
    command("down", "jobs.house.services:down", "stop them all, and whatever an earlier start left", of_shop=False)
    command("status", "jobs.house.services:status", "what runs where, and every folder of state", of_shop=False)
    whole = command("run", "jobs.house.running:run", "the whole way, through both DAGs, ending in a page of results")
    whole.add_argument("--from", dest="folder", metavar="DIR", help="folder with the shop's files")
    whole.add_argument("--pairs", type=int, default=None, help="budget of training pairs for the encoder")
    _range(whole)
    return top


if __name__ == "__main__":
    sys.exit(run_command(parser(), around=entered))
