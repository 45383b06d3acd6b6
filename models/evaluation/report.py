"""The report of an evaluation, for people: one page without script or outside resources, and its plots.

The figures come from the report's dict alone; what it does not hold is left out, and named at the end. Every word that
comes from data is escaped. The same report gives the same bytes.
"""

import html
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from models.evaluation.gates import Verdict, number

OURS = ("candidate", "champion")
BLUE, GREEN, RUST, GREY, LINE = "#2456c9", "#16774a", "#a8481c", "#8a94a3", "#e3e7ee"
STYLE = """
:root{--ink:#1c2430;--soft:#5d6878;--line:#e3e7ee;--page:#f6f7f9;--card:#fff;--good:#16774a;--bad:#a8481c;--ask:#8a6100}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);color-scheme:light;
font:15px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:920px;margin:0 auto;padding:32px 20px 64px}h1{font-size:24px;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:16px;margin:0 0 10px}h3{font-size:14px;margin:16px 0 6px}.soft{color:var(--soft)}p{margin:8px 0}
nav{margin-top:14px;font-size:13px;line-height:2}nav a{color:var(--soft);margin-right:14px;text-decoration:none;
border-bottom:1px solid var(--line);white-space:nowrap}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:20px 22px;margin-top:18px;
overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:6px 10px;border-bottom:1px solid var(--line);white-space:nowrap;vertical-align:top}
th{color:var(--soft);font-weight:600;font-size:13px}th:first-child,td:first-child{text-align:left;padding-left:0}
td.t,th.t{text-align:left;white-space:normal}
tr.ours td{font-weight:600}tr:last-child td{border-bottom:0}svg{width:100%;min-width:480px;height:auto;
display:block}svg.square{min-width:0;max-width:580px}
.verdict{border-left:6px solid var(--good)}.no{border-left-color:var(--bad)}.ask{border-left-color:var(--ask)}
.verdict h2{font-size:20px}.verdict b{color:var(--good)}.no b{color:var(--bad)}.ask b{color:var(--ask)}
.held{color:var(--good)}.failed{color:var(--bad);font-weight:600}.asks{color:var(--ask);font-weight:600}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:14px;margin:14px 0 4px}
.facts div{border-top:1px solid var(--line);padding-top:8px}.facts strong{display:block;font-size:18px}
.facts span{color:var(--soft);font-size:13px}
.sides{display:grid;grid-template-columns:repeat(auto-fit,minmax(230px,1fr));gap:6px 24px;margin-bottom:18px}
.sides ol{margin:0;padding-left:28px}.sides h3{margin:2px 0}.example{border-top:1px solid var(--line);padding-top:12px}
li.new{background:#e6f4ec}li.gone{background:#f9ece5;color:var(--bad)}li em{font-style:normal;color:var(--soft);
font-size:12.5px}code{font-size:12.5px;overflow-wrap:anywhere;white-space:normal}ul{margin:8px 0 0;padding-left:20px}
@media(max-width:600px){main{padding:20px 12px 40px}section{padding:16px 14px}th,td{padding:5px 7px}}
@media print{section{break-inside:avoid}body{background:#fff}nav{display:none}}
"""


# ---- figures as words -------------------------------------------------------------------------------


def _shown(value: Any, digits: int = 3) -> str:
    """A figure; a dash where there is none, or where it is no number."""
    fine = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return f"{value:.{digits}f}" if fine else "-"


def _signed(value: Any, digits: int = 4) -> str:
    return f"{value:+.{digits}f}" if _shown(value) != "-" else "-"


def _short(value: Any) -> str:
    """A figure of any size: `0.6`, `500`, `0.0103`."""
    return f"{value:.4g}" if _shown(value) != "-" else "-"


def _text(value: Any) -> str:
    return html.escape(str(value))


def _cell(value: Mapping[str, Any] | None) -> str:
    if value is None:
        return "<td>-</td>"
    return f"<td>{_shown(value['mean'])} <span class=soft>{_shown(value['low'])}–{_shown(value['high'])}</span></td>"


def _rows(heads: Sequence[str], rows: Iterable[Sequence[str]], text: Sequence[int] = (0,)) -> str:
    """A table of cells that are HTML already; columns of `text` stand to the left and may break."""
    mark = [" class=t" if place in text else "" for place in range(len(heads))]
    head = "".join(f"<th{m}>{name}</th>" for m, name in zip(mark, heads, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{m}>{cell}</td>" for m, cell in zip(mark, row, strict=True)) + "</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def ordered(report: Mapping[str, Any]) -> list[str]:
    """Systems by their primary figure, best first; ties by name."""
    return sorted(report["systems"], key=lambda name: (-report["systems"][name][report["primary"]]["mean"], name))


# ---- plots ------------------------------------------------------------------------------------------


def _axes(width: float, height: float) -> tuple[Any, Any]:
    """An empty plot in the page's dress; the same input gives the same bytes."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "endcap", "font.family": "DejaVu Sans", "font.size": 10})
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _forest(rows: Sequence[tuple[str, float, float, float, str, str]], label: str, zero: bool = False) -> Any:
    """Intervals one under another, first on top: (name, low, mean, high, colour, words at its right)."""
    figure, axes = _axes(8, 0.36 * len(rows) + 0.9)
    for place, (_, low, mean, high, colour, words) in enumerate(reversed(rows)):
        axes.plot([low, high], [place, place], color=colour, linewidth=3, solid_capstyle="round")
        axes.plot([mean], [place], "o", color=colour, markersize=6)
        axes.annotate(words, (high, place), xytext=(7, 0), textcoords="offset points", va="center", color=colour)
    if zero:
        axes.axvline(0, color=GREY, linewidth=1, zorder=0)
    axes.set_yticks(range(len(rows)), [name for name, *_ in reversed(rows)])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.margins(x=0.14)
    axes.set_xlabel(label)
    axes.grid(axis="x", color=LINE)
    axes.spines["left"].set_visible(False)
    axes.tick_params(left=False)
    return figure


def _figure(report: Mapping[str, Any]) -> Any:
    """Means and intervals of the primary metric, one line a system."""
    colours = {"candidate": BLUE, "champion": GREEN}
    rows = []
    for name in ordered(report):
        found = report["systems"][name][report["primary"]]
        rows.append((name, found["low"], found["mean"], found["high"], colours.get(name, GREY), f"{found['mean']:.3f}"))
    return _forest(rows, f"{report['primary']}, mean and 95% interval over {report['test']['what'].split(';')[0]}")


def plot_png(report: Mapping[str, Any], path: Path) -> Path:
    """The plot as a file, for the tracking server."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _figure(report).savefig(path, format="png", dpi=130, metadata={"Software": None})
    return path


def _segments_figure(found: Sequence[Mapping[str, Any]], metric: str) -> Any:
    """Candidate - champion in each segment that was judged; rust: surely beyond its margin, grey: touches zero."""
    rows = []
    for one in found:
        low, mean, high = (one[end] for end in ("low", "mean", "high"))
        colour = RUST if _worse(one) else GREEN if low > 0 else GREY
        words = f"{mean:+.3f}  n {one.get('n', 0):,}"
        rows.append(
            (f"{one['kind']}: {one['name']}{' *' if one.get('protected') else ''}", low, mean, high, colour, words)
        )
    return _forest(rows, f"{metric}, candidate less champion (* protected group)", zero=True)


def _reliability_figure(sides: Mapping[str, Mapping[str, Any]]) -> Any:
    """What was said against what happened, by bins; the area of a point is its share of the answers."""
    figure, axes = _axes(6, 4)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="calibrated")
    for name, colour in (("champion", GREEN), ("candidate", BLUE)):
        bins = [each for each in (sides.get(name) or {}).get("bins", []) if each[4]]
        if bins:
            most = max(each[4] for each in bins)
            axes.plot([each[2] for each in bins], [each[3] for each in bins], color=colour, linewidth=1.5, label=name)
            axes.scatter([each[2] for each in bins], [each[3] for each in bins],
                         s=[12 + 90 * each[4] / most for each in bins], color=colour)  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability that was said", ylabel="share that happened")
    axes.grid(color=LINE)
    axes.legend(frameon=False, loc="upper left")
    return figure


def _attacks_figure(found: Mapping[str, Any]) -> Any:
    """ROC of the attacks on membership on logarithmic axes, where few are named: the line is guessing."""
    figure, axes = _axes(6, 4.2)
    least = min(1 / entry["nonmembers"] for entry in found.values()) / 2
    axes.plot([least, 1], [least, 1], color=GREY, linewidth=1, linestyle="--", label="guessing")
    for colour, (name, entry) in zip((BLUE, RUST, GREEN, "#7a4bb5") * 3, found.items(), strict=False):
        points = [(max(fpr, least), max(tpr, least)) for fpr, tpr in entry["curve"]]
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=2, label=name, drawstyle="steps-post")
        axes.plot([max(entry["tpr"]["fpr"], least)], [max(entry["tpr"]["figure"], least)], "o", color=colour)
    axes.set(xscale="log", yscale="log", xlim=(least, 1), ylim=(least, 1.05),
             xlabel="nonmembers named", ylabel="members named")  # fmt: skip
    axes.grid(color=LINE)
    axes.legend(frameon=False, loc="lower right")
    return figure


def _curves(report: Mapping[str, Any]) -> dict[str, Any]:
    return {name: entry for name, entry in (report.get("privacy") or {}).items() if entry.get("curve")}


def attacks_png(report: Mapping[str, Any], path: Path) -> list[Path]:
    """The attacks' plot as a file, if there is one."""
    if not (found := _curves(report)):
        return []
    _attacks_figure(found).savefig(path, format="png", dpi=130, metadata={"Software": None})
    return [path]


def segments_png(report: Mapping[str, Any], path: Path) -> list[Path]:
    """The segments' plot as a file, if there is one."""
    if not (found := _judged(report)):
        return []
    _segments_figure(found, report["primary"]).savefig(path, format="png", dpi=130, metadata={"Software": None})
    return [path]


def _svg(figure: Any, told: str) -> str:
    """A plot as part of the page, with its words for who cannot see it."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    plain = out.getvalue()[out.getvalue().index("<svg") :]
    kind = " class=square" if figure.get_figwidth() < 8 else ""
    return plain.replace("<svg ", f"<svg role='img'{kind} aria-label='{html.escape(told, quote=True)}' ", 1)


# ---- sections: each '' where the report says nothing --------------------------------------------------


def _section(name: str, title: str, body: str, kind: str = "") -> str:
    return f"<section id={name}{f' class={kind!r}' if kind else ''}><h2>{title}</h2>{body}</section>" if body else ""


ANSWERS = {
    "accept": ("Accepted", ""),
    "ask": ("A person is asked", " ask"),
    "refuse": ("Refused: the champion goes on serving", " no"),
}


def _verdict(report: Mapping[str, Any], verdict: Verdict | None) -> str:
    """The answer, the figures that a reader looks for first, and every check with its figure and limit."""
    if verdict is None:
        return _section("verdict", "No comparison", "There is no candidate beside a champion yet.", "verdict")
    told = verdict.as_dict()
    word, kind = ANSWERS[told.get("answer") or ("accept" if verdict.accepted else "refuse")]
    order = {"failed": 0, "asks": 1, "held": 2}
    checks = sorted(((_mark(each), each) for each in verdict.reasons), key=lambda pair: order[pair[0]])
    signs = {"held": "✓", "asks": "?", "failed": "✗"}
    rows = [(f"<span class={mark}>{signs[mark]} {_text(each.name)}</span><br><span class=soft>{_text(each.why)}</span>",
             _short(each.figure), _short(each.limit)) for mark, each in checks]  # fmt: skip
    table = _rows(["check", "figure", "limit"], rows)
    return (
        f"<section id=verdict class='verdict{kind}'><h2><b>{word}</b></h2><p>{_text(verdict.why)}</p>"
        f"{_facts(report)}{table}</section>"
    )


def _mark(check: Any) -> str:
    return "held" if check.passed else "asks" if getattr(check, "asks", False) else "failed"


def _facts(report: Mapping[str, Any]) -> str:
    """The figures that decide, in large."""
    paired, power, tries = (report.get(name) or {} for name in ("paired", "power", "tries"))
    facts = []
    if paired:
        sure = f"{100 * (number(paired, 'level') or 0.95):.4g}%"
        span = f"{sure} interval {_signed(paired.get('low'))} to {_signed(paired.get('high'))}"
        facts.append((_signed(paired.get("mean")), f"{_text(paired.get('metric', ''))} against the champion, {span}"))
        if _shown(paired.get("p")) != "-":
            facts.append((f"{paired['p']:.2g}", "p: so often would chance alone do as much"))
    if power:
        facts.append((_shown(power.get("detectable"), 4), f"the smallest difference that these {report['test']['n']:,} "
                      f"would have shown in {100 * (number(power, 'power') or 0.8):.0f} of 100 tests"))  # fmt: skip
    if tries:
        facts.append((f"{_short(tries.get('number'))}", "candidates were judged against this champion on these data"))
    return (
        "<div class=facts>" + "".join(f"<div><strong>{f}</strong><span>{w}</span></div>" for f, w in facts) + "</div>"
    )


def _changed(report: Mapping[str, Any]) -> str:
    """Candidate and champion side by side."""
    sides = [role for role in ("champion", "candidate") if role in report]
    if not sides:
        return ""
    size, late = report.get("size_bytes") or {}, {"candidate": report.get("latency_ms") or {},
                                                  "champion": report.get("latency_champion_ms") or {}}  # fmt: skip

    def hashed(role: str) -> str:
        return f"<code>{_text(report[role]['sha256'])[:16]}</code>" if "sha256" in report[role] else "-"

    def slow(role: str) -> str:
        found = late[role]
        return f"{_shown(found.get('p50'), 1)} / {_shown(found.get('p99'), 1)} ms" if found else "-"

    def heavy(role: str) -> str:
        held = number(size, role)
        return "-" if held is None else f"{held / 1e6:,.1f} MB"

    told: list[tuple[str, Callable[[str], str]]] = [
        ("version", lambda role: str(report[role].get("version", "-"))),
        ("what it is", lambda role: _text(report[role].get("name", "-"))),
        ("sealed as", hashed), ("one answer, p50 / p99", slow), ("size", heavy),
    ]  # fmt: skip
    rows = [(label, *(of(role) for role in sides)) for label, of in told if any(of(role) != "-" for role in sides)]
    weights = report.get("weights") or {}
    chosen = f"<p class=soft>Chosen on validation: {_text(_told(weights))}.</p>" if weights else ""
    return _section("changed", "What changed", _rows(["", *sides], rows, range(3)) + chosen)


def _told(values: Any) -> str:
    """Nested settings as words: `fusion (k 60, depth 200); share 0.5`."""
    if not isinstance(values, Mapping):
        return _short(values) if isinstance(values, float) else str(values)
    return "; ".join(f"{key} ({_told(each).replace(';', ',')})" if isinstance(each, Mapping) else f"{key} {_told(each)}"
                     for key, each in values.items())  # fmt: skip


def _systems(report: Mapping[str, Any]) -> str:
    metrics = list(dict.fromkeys(metric for found in report["systems"].values() for metric in found))
    cover = report.get("coverage") or {}
    head = "".join(f"<th>{html.escape(metric)}</th>" for metric in metrics) + ("<th>coverage</th>" if cover else "")
    rows = []
    for name in ordered(report):
        found = report["systems"][name]
        cells = "".join(_cell(found.get(metric)) for metric in metrics)
        cells += f"<td>{_shown(cover.get(name))}</td>" if cover else ""
        rows.append(f"<tr{' class=ours' if name in OURS else ''}><td>{html.escape(name)}</td>{cells}</tr>")
    plot = _svg(_figure(report), "Every system's mean and interval of the primary metric; the table holds the figures")
    return _section("systems", "All systems", plot + f"<table><tr><th>system</th>{head}</tr>{''.join(rows)}</table>")


def _segmented(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = report.get("segments")
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []


def _judged(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Segments large enough to be judged, surest loss first within their kind."""
    ends = ("low", "mean", "high")
    return [each for each in _segmented(report) if all(number(each, end) is not None for end in ends)]


def _worse(one: Mapping[str, Any]) -> bool:
    """Surely worse than its margin, corrected for the number of segments."""
    p = number(one, "p_holm")
    return p is not None and p < 0.05


def _segments(report: Mapping[str, Any]) -> str:
    """Where it is better and where worse: the plot, and the figures with their corrected p."""
    found = _judged(report)
    if not found:
        return ""
    small = [each for each in _segmented(report) if each not in found]
    rows = [(f"{_text(each['kind'])}: {_text(each['name'])}{' *' if each.get('protected') else ''}",
             f"{each.get('n', 0):,}", *(_shown(each.get(role)) for role in ("champion", "candidate")),
             _signed(each["mean"], 3), f"{_signed(each['low'], 3)} to {_signed(each['high'], 3)}",
             _shown(each.get("margin")),
             f"<span class={'failed' if _worse(each) else 'held'}>{_shown(each.get('p_holm'))}</span>")
            for each in found]  # fmt: skip
    told = ", ".join(f"{_text(each['kind'])}: {_text(each['name'])} ({each.get('n', 0):,})" for each in small)
    left = f"<p class=soft>Too small to be judged: {told}.</p>" if told else ""
    plot = _svg(_segments_figure(found, report["primary"]), "Difference by segment; the table below holds the figures")
    heads = ["segment", "n", "champion", "candidate", "difference", "interval", "margin", "p worse"]
    note = (
        "<p class=soft>p worse: of being worse than the margin, corrected for the number of segments (Holm); below "
        "0.05 the gate takes it as proven. * a protected group.</p>"
    )
    return _section("segments", "By segment", plot + _rows(heads, rows) + left + note)


def _compared(champion: Sequence[Any], candidate: Sequence[Any], right: Sequence[str] = ()) -> str:
    """Two rankings side by side: what came, what went, and what moved; of what was `right`, a mark."""
    old, new = ([str(each) for each in side] for side in (champion, candidate))

    def item(name: str, place: int, others: Sequence[str], kind: str, word: str) -> str:
        told = f"<b class=held>{_text(name)} ✓</b>" if name in right else _text(name)
        if name not in others:
            return f"<li class={kind}>{told} <em>{word}</em></li>"
        moved = others.index(name) - place if kind == "new" else 0
        return f"<li>{told}{f' <em>{chr(8593 if moved > 0 else 8595)}{abs(moved)}</em>' if moved else ''}</li>"

    left = "".join(item(name, place, new, "gone", "gone") for place, name in enumerate(old))
    right = "".join(item(name, place, old, "new", "new") for place, name in enumerate(new))
    return f"<div><h3>champion</h3><ol>{left}</ol></div><div><h3>candidate</h3><ol>{right}</ol></div>"


def _examples(report: Mapping[str, Any]) -> str:
    """What was asked, and both answers with their differences marked; with one side only, that one."""
    parts = []
    for each in report.get("examples") or []:
        given = {key: value for key, value in each.items() if key not in OURS}
        asked = "; ".join(f"{_text(key)}: <q>{_text(_listed(value))}</q>" for key, value in given.items())
        if all(isinstance(each.get(role), list | tuple) for role in OURS):
            sides = _compared(each["champion"], each["candidate"])
        else:
            sides = "".join(f"<div><h3>{role}</h3>{_text(_listed(each[role]))}</div>" for role in OURS if role in each)
        parts.append(f"<div class=example>{asked}<div class=sides>{sides}</div></div>")
    return _section("examples", "Examples, side by side", "".join(parts))


def _listed(value: Any) -> str:
    return ", ".join(str(each) for each in value) if isinstance(value, list | tuple) else str(value)


def _losses(report: Mapping[str, Any]) -> str:
    """How many got better and worse, and the worst of those that may be told."""
    found = report.get("losses") or {}
    if not found:
        return ""
    told = f"<p>{found['won']:,} better, {found['lost']:,} worse, {found['same']:,} the same.</p>"
    shown = found.get("shown") or []
    rows = [(_text(each["query"]), _shown(each["champion"]), _shown(each["candidate"]), _signed(each["difference"], 3))
            for each in shown if "query" in each]  # fmt: skip
    table = _rows(["query", "champion", "candidate", "difference"], rows) if rows else ""
    if people := [each for each in shown if "visitor" in each]:
        table += "<p class=soft>Visitors by what they lose; an item that fewer than ten ever bought is not named.</p>"
        table += "".join(_lost(each, report["primary"]) for each in people)
    hidden = found.get("hidden") or 0
    left = (
        f"<p class=soft>{hidden:,} more are worse, of which nothing is shown: too few visitors ask so.</p>"
        if hidden
        else ""
    )
    return _section("losses", "Worst losses", told + table + left)


def _lost(each: Mapping[str, Any], metric: str) -> str:
    """One visitor who loses: what they bought then, and both answers, what was bought marked."""
    scores = " to ".join(_shown(each[role]) for role in ("champion", "candidate"))
    bought = [str(name) for name in each["bought"]]
    named, more = bought[:12], f" and {len(bought) - 12} more" if bought[12:] else ""
    return (
        f"<div class=example><b>{_text(each['visitor'])}.</b> {_text(metric)} {scores} "
        f"({_signed(each['difference'], 3)}); bought then: <q>{_text(', '.join(named))}</q>{more}"
        f"<div class=sides>{_compared(each['answers']['champion'], each['answers']['candidate'], bought)}</div></div>"
    )


def _calibration(report: Mapping[str, Any]) -> str:
    sides = report.get("calibration") or {}
    if "exempt" in sides:
        return _section("calibration", "Calibration", f"Not asked of it: {_text(sides['exempt'])}.")
    sides = {role: found for role, found in sides.items() if isinstance(found, Mapping)}
    exempt = [f"<p>{_text(role)}: {_text(found['exempt'])}.</p>" for role, found in sides.items() if "exempt" in found]
    if len(exempt) == len(sides):
        return _section("calibration", "Calibration", "".join(exempt))
    names = ("ece", "brier", "log_loss", "auc", "n")
    rows = [
        (role, *(_short(found.get(name)) for name in names)) for role, found in sides.items() if "exempt" not in found
    ]
    plot = _svg(_reliability_figure(sides), "Reliability: said against happened; the table holds the figures")
    heads = ["", "calibration error", "Brier", "log loss", "AUC", "n"]
    return _section("calibration", "Calibration", plot + _rows(heads, rows) + "".join(exempt))


def _diversity(report: Mapping[str, Any]) -> str:
    sides = {role: found for role, found in (report.get("diversity") or {}).items() if isinstance(found, Mapping)}
    names = list(dict.fromkeys(name for found in sides.values() for name in found))
    rows = [(_text(role), *(_short(found.get(name)) for name in names)) for role, found in sides.items()]
    return (
        _section("diversity", "Diversity", _rows(["", *(_text(name.replace("_", " ")) for name in names)], rows))
        if rows
        else ""
    )


def _attacks(report: Mapping[str, Any]) -> str:
    """What attacks found: figure, limit, canary and time of each, and the curves."""
    if "learnt_from_visitors" not in report:
        return ""
    found = report.get("privacy") or {}
    if not found:
        return _section("privacy", "Attacks", "Nothing in this bundle learnt from visitors.")
    rows = "".join(_attack(name, entry) for name, entry in found.items())
    curves = _curves(report)
    plot = _svg(_attacks_figure(curves), "Curves of the attacks on membership") if curves else ""
    held = html.escape(", ".join(report["learnt_from_visitors"]))
    return (
        "<section id=privacy><h2>Attacks</h2><table><tr><th>attack</th><th>figure</th><th>limit</th><th>surest</th>"
        f"<th>canary</th><th>s</th><th>held</th></tr>{rows}</table>{plot}<p class=soft>Figure: for membership the area "
        "under the curve (0.5 is guessing), for attributes what a probe gains by what was learnt: of an encoder on the "
        "untrained one's vectors, of a recommender on one taught without these visitors (held by the interval's low "
        "end). Surest: members named where "
        "ten nonmembers are. Canary: the same attack on a model that learnt by heart; it has to be caught. The gate "
        f"holds what is served: {held}. What else is in the bundle's files is not served, and they are not to be given "
        "away.</p></section>"
    )


def _attack(name: str, entry: Mapping[str, Any]) -> str:
    """One line of the attacks' table; what was not attacked says why."""
    if entry.get("figure") is None:
        why = html.escape(str(entry.get("invalid") or "there was nothing to ask about"))
        return (
            f"<tr><td>{html.escape(name)}</td><td colspan=6 style='text-align:left;white-space:normal'>{why}</td></tr>"
        )
    low, high = entry["interval"]
    rate, canary = entry.get("tpr"), entry.get("canary") or {}
    sure = f"{rate['figure']:.1%} at {rate['fpr']:.1%}" if rate else "-"
    caught = "caught" if canary.get("caught") else "missed"
    caught += f" {canary['figure']:.3f}" if canary.get("figure") is not None else ""
    held = "✓" if entry.get("passed") else "✗"
    return (
        f"<tr><td>{html.escape(name)}</td>{_cell({'mean': entry['figure'], 'low': low, 'high': high})}"
        f"<td>{_shown(entry.get('limit'), 2)}</td><td>{sure}</td><td>{caught}</td>"
        f"<td>{_shown(entry.get('seconds'), 1)}</td><td>{held}</td></tr>"
    )


def _lineage(report: Mapping[str, Any]) -> str:
    """From which data and code, and how fresh."""
    data = report.get("data") or []
    told = "".join(f"<li><code>{_text(name)}</code></li>" for name in data[:40])
    more = f"<li>and {len(data) - 40} more</li>" if len(data) > 40 else ""
    skew, same = report.get("skew") or {}, report.get("reproduced") or {}
    facts = [
        ("code", f"<code>{_text(report.get('code') or '-')}</code>"),
        ("judged at (UTC)", _text(report.get("written_at") or "-")),
        ("newest day of data", _text(report.get("newest") or "-")),
        ("features looked up", _text(_listed(report.get("features") or []) or "none")),
        ("training against serving", f"{_short(skew.get('mismatches'))} mismatches in {_short(skew.get('draws'))} draws"
         if skew else "-"),
        ("judged twice, the same", {"True": "yes", "False": "no"}.get(str(same.get("same")), "-")),
    ]  # fmt: skip
    rows = [(label, value) for label, value in facts if value != "-"]
    return _section("lineage", "Made from", _rows(["", ""], rows, (0, 1)) + f"<ul>{told}{more}</ul>")


def _card(report: Mapping[str, Any]) -> str:
    """What the model is for, what it learnt from, and where its figures end (Mitchell 2019)."""
    test, learnt = report["test"], report.get("learnt_from_visitors")
    use = {"search": "ranks the items of the shop for the words of a search",
           "recommend": "ranks the items of the shop for a visitor's history"}.get(report["bundle"], "")  # fmt: skip
    due = (report.get("due") or {}).get("candidate")
    rows = [
        ("model", _text((report.get("candidate") or report.get("champion") or {}).get("name", "-"))),
        ("use", use),
        ("judged on", f"{test['n']:,} {_text(test['what'])}"),
        ("learnt from visitors", "not said" if learnt is None else _text(_listed(learnt)) or "nothing"),
        ("erased since", f"somebody it learnt from; to do: {_text(due)}" if due else "nobody it learnt from"),
        ("not shown here", "what it does for shops, languages and items that the test does not hold; what visitors do "
         "once it serves: that is what an experiment is for"),
    ]  # fmt: skip
    return _section("card", "Model card", _rows(["", ""], [(label, value) for label, value in rows if value], (0, 1)))


PARTS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "what changed": _changed, "all systems": _systems, "segments": _segments, "examples": _examples,
    "worst losses": _losses, "calibration": _calibration, "diversity": _diversity, "attacks": _attacks,
    "lineage": _lineage, "model card": _card,
}  # fmt: skip


def page(report: Mapping[str, Any], verdict: Verdict | None, *, digest: str = "") -> str:
    """The whole page, about the report whose bytes have the SHA-256 `digest`. The same report gives the same bytes."""
    test = report["test"]
    span = f", {test['first']} to {test['last']}" if test.get("first") else ""
    title = html.escape(f"{report['shop']}.{report['bundle']}")
    parts = {name: of(report) for name, of in PARTS.items()}
    links = " ".join(
        f"<a href='#{part[12 : part.index('>')].split()[0]}'>{name}</a>" for name, part in parts.items() if part
    )
    lacking = [name for name, part in parts.items() if not part]
    left = f"<p class=soft>Not in this report: {', '.join(lacking)}.</p>" if lacking else ""
    name = f"; report <code>{_text(digest[:16])}</code>" if digest else ""
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{title}</title><style>{STYLE}</style><main><h1>{title}</h1>"
        f"<div class=soft>judged on {test['n']:,} {html.escape(test['what'])}{html.escape(span)}; "
        f"primary metric {html.escape(report['primary'])}{name}</div><nav>{links}</nav>"
        f"{_verdict(report, verdict)}{''.join(parts.values())}{left}</main></html>\n"
    )


# ---- the same figures for the tracking server -------------------------------------------------------


def figures(report: Mapping[str, Any]) -> dict[str, float]:
    """What the page shows beside the systems, flat and by name, so that versions are compared where runs are kept."""
    found: dict[str, Any] = {}
    for one in _judged(report):
        name = f"segments/{one['kind']}/{one['name']}"
        found |= {name: one.get("mean"), f"{name}.low": one.get("low"), f"{name}.high": one.get("high")}
    for kind in ("calibration", "diversity"):
        for role, side in (report.get(kind) or {}).items():
            if role in OURS and isinstance(side, Mapping):
                found |= {f"{kind}/{role}/{name}": value for name, value in side.items()}
    for name in ("power/detectable", "tries/number", "losses/won", "losses/lost", "losses/same"):
        part, _, field = name.partition("/")
        found[name] = (report.get(part) or {}).get(field)
    found |= {f"size_bytes/{role}": value for role, value in (report.get("size_bytes") or {}).items()}
    found |= {f"latency_champion_ms/{name}": v for name, v in (report.get("latency_champion_ms") or {}).items()}
    return {_name(name): float(found[name]) for name in found if number(found, name) is not None}


def _name(name: str) -> str:
    """Letters, digits and a few signs: what the tracking server takes as a name."""
    return "".join(sign if sign.isalnum() or sign in "_-./ " else "_" for sign in name)
