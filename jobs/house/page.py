"""The page at the end of a run: about forty lines on screen, and one self-contained file of HTML.

Knows reports by their files only. What a report does not hold is left out, never made up.
"""

import html as escape
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jobs.console import grid, show

Rows = list[tuple[Any, ...]]
GIB = 1 << 30

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1c2330}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem;border-bottom:1px solid #d5dae3;padding-bottom:.2rem}
table{border-collapse:collapse;margin:.6rem 0}th,td{padding:.25rem .7rem;text-align:left;
border-bottom:1px solid #e8ebf0;vertical-align:top}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.bar{background:#3b6fd4;height:.7rem;
display:inline-block}.ok{color:#14683b}.no{color:#9a2b1f}code{background:#f2f4f8;padding:.1rem .3rem}
details{margin:.5rem 0}.scroll{overflow-x:auto}
@media (prefers-color-scheme:dark){body{background:#141820;color:#e3e7ee}th,td{border-color:#2a3140}
h2{border-color:#2a3140}code{background:#222938}.ok{color:#63c58f}.no{color:#f08a7d}}
"""


def interval(figure: Any) -> str:
    """'0.672 [0.61, 0.73]' of {"mean", "low", "high"}."""
    if not isinstance(figure, Mapping) or "mean" not in figure:
        return show(figure)
    return f"{figure['mean']:.3f} [{figure.get('low', float('nan')):.3f}, {figure.get('high', float('nan')):.3f}]"


def systems(report: Mapping[str, Any] | None) -> tuple[list[str], Rows]:
    """One row for each system of a report, one column for each metric."""
    found = (report or {}).get("systems") or {}
    metrics = list(dict.fromkeys(name for figures in found.values() for name in figures))
    primary = (report or {}).get("primary")
    metrics.sort(key=lambda name: name != primary)
    return ["system", *metrics], [(name, *(interval(f.get(m)) for m in metrics)) for name, f in found.items()]


def paired(report: Mapping[str, Any] | None) -> str:
    """The line that the first gate looks at."""
    found = (report or {}).get("paired")
    if not found:
        return ""
    return f"candidate minus champion, {found.get('metric')}: {interval(found)}, n = {show(found.get('n'))}"


def flat(value: Any, name: str = "") -> Rows:
    """(name, value) of everything in a report that is not a list of rows."""
    if isinstance(value, Mapping):
        return [row for key, inner in value.items() for row in flat(inner, f"{name}.{key}" if name else str(key))]
    if isinstance(value, list):
        if any(isinstance(inner, Mapping | list) for inner in value):
            return [row for i, inner in enumerate(value) for row in flat(inner, f"{name}.{i + 1}")]
        return [(name, ", ".join(map(show, value)) or "(none)")]
    return [(name, value)]


def listed(value: Any) -> list[Mapping[str, Any]]:
    """The rows of a report that is a list of them, or holds one."""
    if isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value):
        return list(value)
    if isinstance(value, Mapping):
        for inner in value.values():
            if found := listed(inner):
                return found
    return []


def columns(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], Rows]:
    """Headers and cells of rows; nested values in one cell."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return names, [tuple(_cell(row.get(name)) for name in names) for row in rows]


def _cell(value: Any) -> Any:
    """A cell without nesting; empty values as a dash."""
    if isinstance(value, Mapping):
        if "mean" in value:
            return interval(value)
        return ", ".join(f"{key} {_cell(inner)}" for key, inner in value.items()) or None
    if isinstance(value, list):
        return ", ".join(str(_cell(inner)) for inner in value) or None
    return value


LAW = ("step", "table", "in", "out", "quarantined", "duplicates", "suppressed", "erased", "merged", "ok")


def law_rows(law: Any) -> tuple[list[str], Rows]:
    """Rows and refusals, one line for each step and table; terms that are nowhere are left out."""
    rows = listed(law)
    names = [name for name in LAW if any(row.get(name) for row in rows)]
    return names, [tuple(row.get(name, 0) for name in names) for row in rows]


def law_by_step(law: Any) -> tuple[list[str], Rows]:
    """The law's terms added up over the tables of each step, in the order of the steps."""
    steps: dict[str, dict[str, int]] = {}
    for row in listed(law):
        terms = steps.setdefault(str(row.get("step")), {})
        for name in LAW[2:-1]:
            terms[name] = terms.get(name, 0) + int(row.get(name) or 0)
    names = [name for name in LAW[2:-1] if any(terms[name] for terms in steps.values())]
    return ["step", *names], [(step, *(terms[name] for name in names)) for step, terms in steps.items()]


def privacy_lines(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a privacy officer asks first: what was dropped and generalised, the groups' size, what is left."""

    def every(name: str) -> str:
        return ", ".join(c for columns in (report.get(name) or {}).values() for c in columns) or "none"

    def added(name: str) -> dict[str, int]:
        total: dict[str, int] = {}
        for counts in (report.get(name) or {}).values():
            for kind, rows in counts.items():
                total[kind] = total.get(kind, 0) + int(rows)
        return total

    levels = (report.get("columns_generalised") or {}).items()
    scrubbed = ", ".join(f"{show(n)} {kind}" for kind, n in sorted(added("scrubbed").items()))
    return [
        ("columns dropped", every("columns_dropped")),
        ("columns generalised", ", ".join(f"{c} {at['level']} of {at['of']}" for c, at in levels) or "none"),
        ("smallest group (k)", f"{show(report.get('k'))}; {show(report.get('suppressed'))} visitors suppressed"),
        ("found and replaced in texts", scrubbed or "nothing"),
        ("identifiers left in texts", show(sum(added("residue").values()))),
    ]


def reasons(law: Any) -> str:
    """'12 bad_type, 3 orphan': refused rows by reason."""
    found = law.get("reasons") if isinstance(law, Mapping) else None
    return ", ".join(f"{show(rows)} {reason}" for reason, rows in (found or {}).items())


def hits(answer: Any) -> Rows:
    """(what, why) of each hit of an answer."""
    found = answer if isinstance(answer, list) else listed(answer)
    return [
        (str(h.get("title") or h.get("item_id") or "?")[:46], str(_cell(h.get("reason") or h.get("why")) or "")[:60])
        for h in found
        if isinstance(h, Mapping)
    ]


def timed(results: Mapping[str, Any]) -> Rows:
    """(task, state, seconds, peak MiB) of what was run."""
    return [(t["task"], t["state"], t["seconds"], t["peak"] >> 20) for t in results["tasks"] if t["state"] != "skipped"]


def promoted(models: Any) -> Rows:
    """What serves, and what was decided."""
    names, rows = columns(listed(models))
    wanted = [n for n in ("bundle", "version", "kind", "alias", "verdict", "why") if n in names]
    return [tuple(row[names.index(name)] for name in wanted) for row in rows] if wanted else rows


def summary(results: Mapping[str, Any]) -> str:
    """The page on screen, in about forty lines."""
    parts: list[str] = [
        f"\n{results['shop']}: {results['seconds'] / 60:.1f} minutes, "
        f"peak memory of all processes {results['peak'] / GIB:.2f} GiB"
    ]
    headers, rows = law_by_step(results["law"])
    if rows:
        parts += ["", "Rows by step (by table: 'python -m jobs law')", grid(headers, rows)]
    if told := reasons(results["law"]):
        parts.append(f"Refused rows by reason: {told}")
    if results["privacy"]:
        parts += ["", "Privacy", *(f"  {name}: {value}" for name, value in privacy_lines(results["privacy"]))]
    for name in ("search", "recommend"):
        if results[name]:
            test = results[name].get("test") or {}
            headers, rows = systems(results[name])
            parts += [
                "",
                f"{name}: {test.get('what', '')} (n = {show(test.get('n'))}), mean [95 % interval]",
                grid(headers[:4], [row[:4] for row in rows]),
                paired(results[name]),
            ]
    if rows := promoted(results["models"]):
        parts += ["", "Served now", *("  " + "  ".join(show(cell) for cell in row)[:140] for row in rows[:4])]
    slow = sorted(timed(results), key=lambda row: -row[2])[:5]
    parts += ["", "Where the time went", "  " + ", ".join(f"{task} {seconds:.0f} s" for task, _, seconds, _ in slow)]
    if results["examples"]:
        parts += ["", "Asked"]
    for example in results["examples"][:6]:
        first = hits(example["answer"])[:2]
        parts.append(
            f"  {example['kind']} '{example['asked']}': " + "; ".join(f"{what} ({why})" for what, why in first)
        )
    return "\n".join(part for part in parts if part is not None)


def _text(value: Any) -> str:
    return escape.escape(show(value))


def table(headers: Iterable[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table of HTML: numbers to the right."""
    body = list(rows)
    head = "".join(f"<th>{_text(name)}</th>" for name in headers)

    def cell(value: Any) -> str:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return f"<td{' class=n' if number else ''}>{_text(value)}</td>"

    lines = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in body)
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>"


def _counted(law: Any) -> str:
    """The counting law, by step and table, and the reasons of refusals."""
    if not listed(law):
        return ""
    return table(*law_rows(law)) + (f"<p>Refused rows by reason: {_text(told)}.</p>" if (told := reasons(law)) else "")


def _bars(results: Mapping[str, Any]) -> str:
    """Time by step, with a bar as long as its share."""
    longest = max([row[2] for row in timed(results)] or [1.0]) or 1.0
    lines = "".join(
        f"<tr><td>{_text(task)}</td><td>{_text(state)}</td><td class=n>{seconds:.1f}</td><td class=n>{peak:,}</td>"
        f"<td><span class=bar style='width:{seconds / longest * 16:.2f}rem'></span></td></tr>"
        for task, state, seconds, peak in timed(results)
    )
    head = "<tr><th>task</th><th>state</th><th class=n>seconds</th><th class=n>peak MiB</th><th></th></tr>"
    return f"<div class=scroll><table><thead>{head}</thead><tbody>{lines}</tbody></table></div>"


def _section(title: str, body: str) -> str:
    return f"<h2>{_text(title)}</h2>\n{body}\n" if body else ""


def _evaluated(name: str, report: Any) -> str:
    """Metrics of a bundle against its baselines, and the line that the gate looks at."""
    if not report:
        return ""
    test = report.get("test") or {}
    told = ", ".join(f"{key} {show(value)}" for key, value in test.items())
    rest = {k: v for k, v in report.items() if k not in ("systems", "examples", "data", "test", "paired")}
    rest["privacy"] = {
        name: {key: value for key, value in found.items() if key != "curve"}
        for name, found in (report.get("privacy") or {}).items()
    }
    headers, rows = systems(report)
    return _section(
        f"{name}: metrics with 95 % intervals",
        f"<p>Tested on: {_text(told)}</p>{table(headers, rows)}<p>{_text(paired(report))}</p>"
        f"<details><summary>more figures</summary>{table(['figure', 'value'], flat(rest))}</details>",
    )


def _answered(examples: Sequence[Mapping[str, Any]]) -> str:
    """What was asked, what was answered and why."""
    return "".join(
        f"<h3>{_text(e['kind'])}: <q>{_text(e['asked'])}</q></h3>{table(['item', 'why'], hits(e['answer']))}"
        for e in examples
    )


def html(results: Mapping[str, Any]) -> str:
    """The whole page as one file: no script, nothing fetched from anywhere."""
    shop = str(results["shop"])
    told = f"{results['seconds'] / 60:.1f} minutes, peak memory of all processes {results['peak'] / GIB:.2f} GiB."
    privacy = privacy_lines(results["privacy"]) if results["privacy"] else []
    models = columns(listed(results["models"]))
    again = (
        f"<p><code>make up SHOP={escape.escape(shop)}</code> starts Airflow, MLflow, Feast's page and the API. "
        f"<code>python -m jobs quarantine --shop {escape.escape(shop)}</code> shows refused rows. "
        "<code>make doctor</code> judges the machine.</p>"
    )
    return (
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>Endcap: {escape.escape(shop)}</title><style>{STYLE}</style></head><body>\n"
        f"<h1>{_text(shop)}: from its files to its champions</h1><p>{_text(told)}</p>\n"
        + _section("Rows and refusals by step", _counted(results["law"]))
        + _section("Privacy", table(["figure", "value"], privacy) if privacy else "")
        + _evaluated("search", results["search"])
        + _evaluated("recommend", results["recommend"])
        + _section("Promoted or refused, and why", table(*models) if models[1] else "")
        + _section("Time by step", _bars(results))
        + _section("Examples", _answered(results["examples"]))
        + _section("What to type next", again)
        + "</body></html>\n"
    )
