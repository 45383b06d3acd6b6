"""privacy: the officer's page. What was removed, what an attacker still finds, what was spent, released and erased.

One file of HTML without scripts, made from what lies in the shop's home: marks, reports, ledgers. Nothing is measured
here. Every figure stands beside the file that it comes from and the command that makes it again; what was not run is
said to be so, and proves nothing. It leaves the closed zone: counts and names of ours, no row, no id, no query.
"""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from html import escape
from pathlib import Path
from typing import Any

from jobs import audit, counting, releasing
from jobs.attacks import EXPORT_LIMIT
from jobs.console import grid, say, show
from jobs.house.page import STYLE, flat, interval, table
from jobs.pseudonyms import current_epoch, epochs, held_epochs, serving_file
from jobs.tables import DELIVERED, LEAST_VISITORS, WHOLE
from jobs.warehouse import Warehouse, code_version, home, warehouse, write_atomically

OK, NO, NOT_RUN, TOLD = "ok", "no", "not run", "told"
"""A claim holds, or does not; was not looked at; or is only told, since there is no limit to hold it against."""
DAYS = 31  # the last ones, of which each has a line
ERASURES = 20  # so, too
MODELS = ("search", "recommend")
OWN = """
.todo{color:#8a6d1a}.first td:nth-child(2),.first th:nth-child(2){white-space:nowrap}.where{color:#5d6878}
td{overflow-wrap:anywhere}.big{font-size:1.15rem}
@media (prefers-color-scheme:dark){.todo{color:#e0bd5e}.where{color:#9aa5b5}}
"""


@dataclass(frozen=True)
class Check:
    """One claim: its figure, the limit it is held against, whether it holds, and where that can be checked."""

    what: str
    state: str
    figure: str
    limit: str
    where: str


def report(shop: str, name: str) -> dict[str, Any]:
    """A report that a step wrote; empty if there is none, or none that can be read."""
    try:
        found = json.loads((home() / shop / "reports" / f"{name}.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


# ---- what there is --------------------------------------------------------------------------------


def gather(house: Warehouse, now: datetime) -> dict[str, Any]:
    """All that the page shows, from files alone."""
    shop = house.shop
    marks = {name: found for name in DELIVERED if (found := house.marks("safe", name))}
    people = marks.get("visitors", [])
    # Of what is published, the mark knows best; the report of the step also tells of what is only proposed.
    told = {**report(shop, "privacy"), **(dict(people[0].notes) if people else {})}
    chain = audit.chain(audit.log_file(shop))
    return {
        "shop": shop,
        "made": now.isoformat(timespec="seconds"),
        "code": code_version(),
        "anonymised": {k: v for k, v in told.items() if k not in ("validation", "attacks")},
        "marks": [mark.name for mark in people],
        "days": by_day(house, marks),
        "rare": {
            "least": LEAST_VISITORS,
            "days": counting.total(m.notes.get("rare", {}) for m in house.marks("stats", "query_stats")),
            "examples": next((m.notes.get("rare") or {} for m in house.marks("examples", "encoder")), {}),
        },
        "attacks": attacks_of({**(told.get("attacks") or {}), **report(shop, "attacks")}),
        "residue": report(shop, "residue"),
        "models": {name: judged for name in MODELS if (judged := report(shop, name))},
        "budget": budget(shop, now),
        "keys": {
            "current": current_epoch(shop), "held": held_epochs(shop),
            "safe": sorted(epochs(m for found in marks.values() for m in found)),
            "served": serving_file(shop).read_text(encoding="ascii").strip() if serving_file(shop).is_file() else None,
        },
        "erasures": erasures(home() / shop / "erasures"),
        "audit": {"lines": len(chain.hashes), "head": chain.head, "broken": chain.broken, "torn": chain.torn},
    }  # fmt: skip


def attacks_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """The attacks of a report by name; one that was made on several things (`uniqueness`) by each of them."""
    told: dict[str, Any] = {}
    for name, value in found.items():
        if isinstance(value, Mapping) and value.keys() & {"figure", "shares", "passed"}:
            told[name] = value
        elif isinstance(value, Mapping):
            told |= {f"{name}: {of}": each for of, each in value.items() if isinstance(each, Mapping)}
    return told


def by_day(house: Warehouse, marks: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """The last days of the safe zone: rows, placeholders, rows with an identifier left, searches with a rare query."""
    days: dict[str, dict[str, Any]] = {}
    for found in marks.values():
        for mark in found:
            if mark.day == WHOLE:
                continue
            line = days.setdefault(mark.day, {"day": mark.day, "rows": 0, "scrubbed": 0, "left": 0, "rare": None})
            line["rows"] += mark.rows
            line["scrubbed"] += sum(mark.notes.get("scrubbed", {}).values())
            line["left"] += sum(mark.notes.get("residue", {}).values())
    for mark in house.marks("stats", "query_stats"):
        if mark.day in days and "rare" in mark.notes:
            days[mark.day]["rare"] = mark.notes["rare"].get("searches", 0)
    return [days[day] for day in sorted(days, reverse=True)[:DAYS]]


def budget(shop: str, now: datetime) -> dict[str, Any]:
    """What may be spent on released counts, what was, and on what; nothing is written where nothing was released."""
    ledger = releasing.Ledger(shop)
    there = releasing.policy_file(shop).is_file()
    policy = releasing.policy_of(shop) if there else releasing.Policy()
    period, renews = releasing.period_of(policy, now)
    rows = ledger.rows()
    epsilon, delta = releasing.spent(rows, period)
    return {
        "policy": asdict(policy), "period": period, "renews": renews.isoformat(), "epsilon": str(epsilon),
        "delta": str(delta), "left": str(Decimal(policy.epsilon) - epsilon), "releases": rows,
        "path": ledger.path.relative_to(home() / shop).as_posix(),
    }  # fmt: skip


def erasures(folder: Path) -> dict[str, Any]:
    """Certificates of erasure, the last ones with what they say, newest first; and what is yet to be done."""
    paths = sorted((folder / "certificates").glob("*.json"))
    told = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    shown = [(each["erasure"], each["ended"], each["by"], len(each["visitors"]), len(each["partitions"]),
              sum(one["rows"] for one in each["partitions"]), each["search"]["files"], len(each["models"]),
              each["models are to be"]) for each in reversed(told[-ERASURES:])]  # fmt: skip
    return {"certificates": len(told), "shown": shown, "path": "erasures/certificates",
            "begun": len(list((folder / "pending").glob("*.json"))),
            "asked": len(list((folder / "requests").glob("*.json")))}  # fmt: skip


# ---- what it proves -------------------------------------------------------------------------------


def number(value: Any) -> str:
    """A figure in short; '-' for none."""
    return "-" if value is None else show(value)


def reached(what: str, value: Any, wanted: Any, where: str) -> Check:
    """A figure that must be at least what was wanted, if anything was."""
    if value is None or wanted is None:
        state = NOT_RUN if value is None else TOLD
    else:
        state = OK if value >= wanted else NO
    return Check(what, state, number(value), f"at least {number(wanted)}" if wanted is not None else "none", where)


def diverse(told: Mapping[str, Any], where: str) -> Check:
    """l. Where the levels hide the sensitive column whole, no group tells anything, and nothing is to be told apart."""
    of = words(told.get("l_of")) or "what is sensitive"
    claim = reached(f"l: distinct values of {of} in each group", told.get("l"), told.get("l_wanted"), where)
    hidden = "l" in told and told["l"] is None and told.get("k") is not None
    return replace(claim, state=OK, figure=f"{of} is told of nobody") if hidden else claim


def judged(name: str, attack: str, found: Mapping[str, Any], served: Any, where: str) -> Check:
    """One attack on a model. What it reads of a part that no caller meets is told, not limited: as the gate has it."""
    part = attack.removeprefix("membership: ")
    if found.get("limit") is None:
        found = {each: value for each, value in found.items() if each != "passed"}
    if part != attack and isinstance(served, list) and part not in served:
        found = {each: value for each, value in found.items() if each not in ("limit", "passed")}
        return attacked(f"{name}: {attack}, in its files alone", found, where)
    return attacked(f"{name}: {attack}", found, where)


def attacked(name: str, found: Mapping[str, Any], where: str) -> Check:
    """One attack. It counts only with a canary that it caught: an attack that finds nothing may be blind."""
    canary = found.get("canary")
    caught = canary.get("caught") if isinstance(canary, Mapping) else None
    told = {True: "canary caught", False: "CANARY MISSED, so this proves nothing"}.get(caught, "no canary")  # type: ignore[arg-type]
    passed = found.get("passed")
    there = passed is not None or "figure" in found or "shares" in found
    if there and caught:  # without a verdict of its own an attack is told of, not limited
        state = TOLD if passed is None else OK if passed else NO
    else:
        state = NO if there else NOT_RUN
    span = found.get("interval")
    figure = figure_of(found)
    if isinstance(span, Sequence) and len(span) == 2:
        figure += f" [{number(span[0])}, {number(span[1])}]"
    limit = f"at most {number(found['limit'])}" if found.get("limit") is not None else "none"
    if "shares" in found:
        limit = f"none here; {EXPORT_LIMIT:.0%} for what is exported"
    why = f"; {found['invalid']}" if found.get("invalid") else ""
    return Check(name, state, f"{figure}; {told}{why}", limit, where)


def figure_of(found: Mapping[str, Any]) -> str:
    """The figure of an attack in short: with its interval, or of each number of points."""
    if "shares" in found:
        shares = [s for s in found["shares"] if isinstance(s, Mapping)]
        told = (f"{s.get('points')}: {100 * float(s.get('figure') or 0):.1f} %" for s in shares)
        return f"by points, {', '.join(told)}"
    if isinstance(found.get("figure"), Mapping):
        return interval(found["figure"])
    if {"figure", "low", "high"} <= set(found):
        return f"{number(found['figure'])} [{number(found['low'])}, {number(found['high'])}]"
    return number(found.get("figure"))


def checks(found: Mapping[str, Any]) -> list[Check]:
    """Every claim of the page, in the order of the data's way."""
    shop, told = found["shop"], found["anonymised"]
    mark = f"mark of safe/visitors; python -m jobs anonymise --shop {shop}"
    left = sum(counting.total((told.get("residue") or {}).values()).values()) if told.get("residue") else None
    out = [
        Check("direct identifiers left in texts, by the scrubber's own look",
              NOT_RUN if left is None else OK if left == 0 else NO, number(left), "0", "reports/privacy.json"),
        reached("k: visitors who look the same, at least", told.get("k"), told.get("k_wanted"), mark),
        diverse(told, mark),
    ]  # fmt: skip
    if told.get("t") is not None:
        out.append(Check("t: farthest that a group's share of values lies from everybody's", TOLD, number(told["t"]),
                         "none", mark))  # fmt: skip
    if told.get("loss_bits") is not None:
        lost = f"{number(told['loss_bits'])} of {number(told.get('of_bits'))}"
        out.append(Check("detail given up, in bits", TOLD, lost, "none", mark))
    scan = f"reports/residue.json; python -m jobs scan --shop {shop}"
    out.append(residue(found["residue"], scan))
    where = f"reports/attacks.json; python -m jobs attack --shop {shop}"
    for name in ("linkage", "uniqueness"):
        if not any(each.partition(":")[0] == name for each in found["attacks"]):
            out.append(Check(name, NOT_RUN, "-", "-", where))
    out += [attacked(name, attack, where) for name, attack in found["attacks"].items()]
    for name in MODELS:
        place = f"reports/{name}.json; python -m models evaluate {name} --shop {shop}"
        said = found["models"].get(name) or {}
        privacy = said.get("privacy")
        if not isinstance(privacy, Mapping) or not privacy:
            out.append(Check(f"{name}: membership, canaries, attributes", NOT_RUN, "-", "-", place))
            continue
        out += [judged(name, attack, each, said.get("learnt_from_visitors"), place)
                for attack, each in privacy.items() if isinstance(each, Mapping)]  # fmt: skip
    money = found["budget"]
    over = Decimal(money["left"]) < 0
    out.append(Check("epsilon spent on released counts", NO if over else OK, money["epsilon"],
                     f"at most {money['policy']['epsilon']} a {money['policy']['period']}", money["path"]))  # fmt: skip
    keys = found["keys"]
    one = len(keys["safe"]) <= 1 and not any(epoch < keys["current"] for epoch in keys["held"])
    out.append(Check("one epoch of pseudonyms, and one key", OK if one else NO,
                     f"safe {words(keys['safe']) or '-'}; keys {words(keys['held']) or '-'}",
                     f"epoch {keys['current']}",
                     f"python -m jobs rotate --shop {shop} --destroy --dry-run"))  # fmt: skip
    book = found["audit"]
    out.append(Check("audit log unbroken", NOT_RUN if not book["lines"] else NO if book["broken"] else OK,
                     f"{book['lines']} lines", "0 breaks", f"python -m jobs audit --shop {shop} --verify"))  # fmt: skip
    return out


def residue(found: Mapping[str, Any], where: str) -> Check:
    """What an independent scanner found below safe. A report of another shape is shown, and proves nothing."""
    name = "identifiers below safe, by an independent scanner"
    if not found:
        return Check(name, NOT_RUN, "-", "0", where)
    canaries: Mapping[str, Any] = found.get("canaries") or {}
    planted = len(canaries.get("planted") or [])
    caught = {"caught": planted == canaries.get("found")} if planted else None
    told = {"figure": found.get("total"), "limit": found.get("limit", 0), "passed": found.get("passed") is True}
    return attacked(name, {**told, "canary": caught}, where)


def words(value: Any) -> str:
    """A name or a list of names, as text."""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value or "")


# ---- the page -------------------------------------------------------------------------------------

WORDS = """
<details><summary>what the words say</summary><dl>
<dt>canary</dt><dd>something planted that the attack must find; one that misses it is blind, and proves nothing</dd>
<dt>linkage</dt><dd>the chance with which the easiest visitor's row is found by whoever knows their particulars</dd>
<dt>uniqueness</dt><dd>the share of visitors whom so many random points (an item on a day) of their history single out:
histories stay personal data, under access control</dd>
<dt>membership</dt><dd>how well an attacker tells who a model learnt from: 0.5 is by chance, 1 always</dd>
<dt>attributes</dt><dd>visitors whose attribute is guessed right from a model's vectors, less those whom the most
frequent value gets right</dd>
<dt>epsilon</dt><dd>how much released counts may tell of any one visitor; less is stricter</dd>
</dl></details>"""
CLASSES = {OK: "ok", NO: "no", NOT_RUN: "todo", TOLD: "where"}
SIGNS = {OK: "✓ holds", NO: "✗ does not hold", NOT_RUN: "? not run", TOLD: "· told"}


def first_table(found: Sequence[Check]) -> str:
    """All claims with their verdicts."""
    rows = "".join(
        f"<tr><td>{escape(c.what)}</td><td class={CLASSES[c.state]}>{SIGNS[c.state]}</td><td>{escape(c.figure)}</td>"
        f"<td>{escape(c.limit)}</td><td class=where><code>{escape(c.where)}</code></td></tr>"
        for c in found
    )
    head = "".join(f"<th scope=col>{name}</th>" for name in ("claim", "verdict", "figure", "limit", "check it"))
    return f"<div class=scroll><table class=first><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"


def _section(title: str, body: str, where: str = "") -> str:
    source = f"<p class=where>From <code>{escape(where)}</code></p>" if where else ""
    return f"<section><h2>{escape(title)}</h2>{body}{source}</section>\n" if body else ""


def _removed(told: Mapping[str, Any]) -> str:
    dropped = [(name, words(each)) for name, each in (told.get("columns_dropped") or {}).items()]
    kinds = sorted({kind for each in (told.get("scrubbed") or {}).values() for kind in each})
    scrubbed = [(kind, *(each.get(kind, 0) for each in told["scrubbed"].values())) for kind in kinds]
    parts = [table(["table", "columns dropped whole"], dropped) if dropped else ""]
    if scrubbed:
        parts.append(table(["found and replaced in texts", *told["scrubbed"]], scrubbed))
    return "".join(parts)


def _groups(told: Mapping[str, Any]) -> str:
    levels = [(c, at.get("level"), at.get("of")) for c, at in (told.get("columns_generalised") or {}).items()
              if isinstance(at, Mapping)]  # fmt: skip
    share = told.get("suppressed_share")
    lost = f"; {100 * float(share):.2f} % of visitors suppressed" if share is not None else ""
    shown = {"columns_generalised", "columns_dropped", "scrubbed", "residue", "shop", "attacks"}
    rest = flat({name: value for name, value in told.items() if name not in shown})
    return (
        (table(["column", "level of detail given up", "of"], levels) if levels else "")
        + (f"<p>0 keeps a column as it is, the last level hides it whole{lost}.</p>" if levels else "")
        + (f"<details><summary>all figures</summary>{table(['figure', 'value'], rest)}</details>" if rest else "")
    )


def _rare(found: Mapping[str, Any], shop: str) -> str:
    days, examples = found["days"], found["examples"]
    rows = []
    if days:
        rows.append(("features, look-ups and pages", number(days.get("searches")), "counted day by day",
                     f"marks of stats/query_stats; python -m jobs aggregate --shop {shop}"))  # fmt: skip
    if examples:
        rows.append(("the encoder's training set", number(examples.get("searches")),
                     f"{number(examples.get('queries'))} distinct queries",
                     f"mark of examples/encoder; python -m jobs examples encoder --shop {shop}"))  # fmt: skip
    told = (f"<p>A query is told only from the moment when {found['least']} visitors had made it. The setting is "
            "LEAST_VISITORS in jobs/tables.py.</p>")  # fmt: skip
    return told + (
        table(["left out of", "searches", "", "check it"], rows)
        if rows
        else f"<p class=todo>Not run: <code>python -m jobs aggregate --shop {escape(shop)}</code></p>"
    )


def _more(found: Mapping[str, Any]) -> str:
    """Every figure of every attack, folded."""
    parts = {**{f"tables: {name}": each for name, each in found["attacks"].items()}, "residue": found["residue"]}
    for name, each in found["models"].items():
        for attack, figures in (each.get("privacy") or {}).items():
            parts[f"{name}: {attack}"] = figures
        if each.get("private"):
            parts[f"{name}: private training"] = each["private"]
    return "".join(
        f"<details><summary>{escape(name)}</summary>{table(['figure', 'value'], flat(figures)[:60])}</details>"
        for name, figures in parts.items()
        if figures
    )


def _budget(found: Mapping[str, Any]) -> str:
    policy = found["policy"]
    told = (
        f"<p>Epsilon {found['epsilon']} of {policy['epsilon']} was spent in the {policy['period']} that began in "
        f"{found['period']}; {found['left']} are left until {found['renews']}.</p>"
    )
    rows = [(r.get("at"), r.get("table"), f"{r.get('first')} to {r.get('last')}", r.get("epsilon"), r.get("delta"),
             r.get("release")) for r in found["releases"]]  # fmt: skip
    return told + (table(["paid (UTC)", "counts", "days", "epsilon", "delta", "release"], rows) if rows else "")


def _erasures(found: Mapping[str, Any]) -> str:
    heads = ["erasure", "certified (UTC)", "by", "accounts", "partitions", "rows", "files searched", "models", "to be"]
    told = (f"<p>{found['certificates']} signed certificates; {found['begun']} erasures begun and not ended; "
            f"{found['asked']} requests wait.</p>")  # fmt: skip
    return told + (table(heads, found["shown"]) if found["shown"] else "")


def html(found: Mapping[str, Any]) -> str:
    """The whole page: one file, no script, nothing from elsewhere."""
    shop, all_checks = found["shop"], checks(found)
    counted = {state: sum(check.state == state for check in all_checks) for state in SIGNS}
    keys, gone, book = found["keys"], found["erasures"], found["audit"]
    days = [tuple(line.values()) for line in found["days"]]
    title = f"Privacy of {escape(shop)}"
    told = (
        f"<p class=big><span class=ok>{counted[OK]} hold</span>, <span class=no>{counted[NO]} do not</span>, "
        f"<span class=todo>{counted[NOT_RUN]} were not run</span>, {counted[TOLD]} are told without a limit.</p>"
    )
    key_rows = [
        ("written by anonymise", str(keys["current"])),
        ("in published safe tables", words(keys["safe"]) or "-"),
        ("in the online store", keys["served"] or "-"),
        ("keys that lie here", words(keys["held"]) or "-"),
    ]
    return (
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{title}</title><style>{STYLE}{OWN}</style></head><body><main>\n<h1>{title}</h1>"
        f"<p>What is known of how little of a person can be found in what lies below the anonymisation of this shop. "
        f"Made {escape(found['made'])} by code {escape(found['code'])}; visitors as of "
        f"<code>{escape(words(found['marks']) or 'nothing published')}</code>.</p>{told}"
        + _section("Every claim", first_table(all_checks) + WORDS)
        + _section("What was removed", _removed(found["anonymised"]), "reports/privacy.json")
        + _section("How coarse the visitors are", _groups(found["anonymised"]), "policy/generalisation.json")
        + _section("Rare queries left out", _rare(found["rare"], shop))
        + _section("Attacks, all figures", _more(found))
        + _section("Counts released outside", _budget(found["budget"]), found["budget"]["path"])
        + _section("Pseudonyms and their keys", table(["of", "epoch"], key_rows), "keys, feast/epoch, marks of safe")
        + _section("Erasures", _erasures(gone), gone["path"])
        + _section("Audit log", f"<p>{book['lines']} lines; head <code>{book['head']}</code>. Keep the head: it shows "
                   "later whether the log's end was cut off.</p>",
                   f"python -m jobs audit --shop {shop} --verify --head {book['head']}")
        + _section(f"The last {len(days)} days", table(["day", "rows in safe", "found and replaced in texts",
                   "rows with an identifier left", "searches with a rare query"], days) if days else "",
                   f"python -m jobs tables --shop {shop} --zone safe")
        + "</main></body></html>\n"
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """`python -m jobs privacy`: write the page, and print its claims."""
    house = warehouse(args.shop)
    found = gather(house, datetime.now(UTC))
    text = html(found)
    path = home() / args.shop / "reports" / "privacy.html"
    write_atomically(path, text)
    write_atomically(home() / args.shop / "docs" / "privacy.html", text)  # Airflow's API server gives out docs/ alone
    listed: Iterable[Check] = checks(found)
    print(grid(("claim", "verdict", "figure", "limit"), [(c.what, SIGNS[c.state], c.figure, c.limit) for c in listed]))
    print(path)
    if missing := sorted({c.where.rpartition("; ")[2] for c in listed if c.state == NOT_RUN}):
        say(f"Next: {missing[0]}" + (f"   and {len(missing) - 1} more" if len(missing) > 1 else ""))
    return 0
