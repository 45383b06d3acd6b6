"""The report of an evaluation, for people: one page without outside resources, and its plot.

The figures come from the report's dict alone; every word that comes from data is escaped.
"""

import html
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.evaluation.gates import Verdict

OURS = ("candidate", "champion")
STYLE = """
:root{--ink:#1c2430;--soft:#5d6878;--line:#e3e7ee;--page:#f6f7f9;--card:#fff;--good:#16774a;--bad:#a8481c}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);
font:15px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:880px;margin:0 auto;padding:32px 20px 64px}h1{font-size:24px;margin:0 0 4px}
h2{font-size:16px;margin:0 0 10px}.soft{color:var(--soft)}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:20px 22px;margin-top:18px;
overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:6px 10px;border-bottom:1px solid var(--line);white-space:nowrap}
th{color:var(--soft);font-weight:600;font-size:13px}th:first-child,td:first-child{text-align:left}
tr.ours td{font-weight:600}tr:last-child td{border-bottom:0}svg{width:100%;height:auto}
.verdict{border-left:6px solid var(--good)}.verdict.no{border-left-color:var(--bad)}
.verdict b{color:var(--good)}.verdict.no b{color:var(--bad)}ul{margin:8px 0 0;padding-left:20px}
code{font-size:12.5px;overflow-wrap:anywhere;white-space:normal}.wrap td{white-space:normal;text-align:left}
"""


def _shown(value: Any, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def ordered(report: Mapping[str, Any]) -> list[str]:
    """Systems by their primary figure, best first; ties by name."""
    return sorted(report["systems"], key=lambda name: (-report["systems"][name][report["primary"]]["mean"], name))


def _figure(report: Mapping[str, Any]) -> Any:
    """Means and intervals of the primary metric, one line a system."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "endcap", "font.family": "DejaVu Sans", "font.size": 10})
    from matplotlib.figure import Figure

    names = ordered(report)[::-1]
    figure = Figure(figsize=(8, 0.42 * len(names) + 0.9), layout="constrained")
    axes = figure.add_subplot()
    for place, name in enumerate(names):
        value = report["systems"][name][report["primary"]]
        colour = {"candidate": "#2456c9", "champion": "#16774a"}.get(name, "#8a94a3")
        axes.plot([value["low"], value["high"]], [place, place], color=colour, linewidth=3, solid_capstyle="round")
        axes.plot([value["mean"]], [place], "o", color=colour, markersize=7)
        axes.annotate(
            f"{value['mean']:.3f}",
            (value["high"], place),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            color=colour,
        )
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.margins(x=0.12)
    axes.set_xlabel(f"{report['primary']}, mean and 95% interval over {report['test']['what']}")
    axes.grid(axis="x", color="#e3e7ee")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(left=False)
    return figure


def plot_png(report: Mapping[str, Any], path: Path) -> Path:
    """The plot as a file, for the tracking server."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _figure(report).savefig(path, format="png", dpi=130, metadata={"Software": None})
    return path


def _plot_svg(report: Mapping[str, Any]) -> str:
    out = io.StringIO()
    _figure(report).savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()[out.getvalue().index("<svg") :]


def _cell(value: Mapping[str, Any] | None) -> str:
    if value is None:
        return "<td>-</td>"
    return f"<td>{_shown(value['mean'])} <span class=soft>{_shown(value['low'])}–{_shown(value['high'])}</span></td>"


def _table(report: Mapping[str, Any]) -> str:
    metrics = list(dict.fromkeys(metric for found in report["systems"].values() for metric in found))
    cover = report.get("coverage") or {}
    head = "".join(f"<th>{html.escape(metric)}</th>" for metric in metrics) + ("<th>coverage</th>" if cover else "")
    rows = []
    for name in ordered(report):
        found = report["systems"][name]
        cells = "".join(_cell(found.get(metric)) for metric in metrics)
        cells += f"<td>{_shown(cover.get(name))}</td>" if cover else ""
        rows.append(f"<tr{' class=ours' if name in OURS else ''}><td>{html.escape(name)}</td>{cells}</tr>")
    return f"<table><tr><th>system</th>{head}</tr>{''.join(rows)}</table>"


def _verdict(report: Mapping[str, Any], verdict: Verdict | None) -> str:
    if verdict is None:
        return "<section class=verdict><h2>No comparison</h2>There is no candidate beside a champion yet.</section>"
    word = "Accepted" if verdict.accepted else "Refused: the champion goes on serving"
    checks = "".join(f"<li>{'✓' if c.passed else '✗'} {html.escape(c.why)}</li>" for c in verdict.reasons)
    return (
        f"<section class='verdict{'' if verdict.accepted else ' no'}'><h2><b>{word}</b></h2><ul>{checks}</ul></section>"
    )


def _changed(report: Mapping[str, Any]) -> str:
    lines = [f"<b>{role}</b>: version {report[role]['version']}, {html.escape(str(report[role]['name']))}"
             for role in OURS if role in report]  # fmt: skip
    weights = report.get("weights") or {}
    if weights:
        lines.append(f"chosen on validation: <code>{html.escape(str(weights))}</code>")
    if report.get("latency_ms"):
        lines.append(f"one answer: p50 {report['latency_ms']['p50']} ms, p99 {report['latency_ms']['p99']} ms")
    return "<section><h2>What changed</h2>" + "<br>".join(lines) + "</section>" if lines else ""


def _examples(report: Mapping[str, Any]) -> str:
    """Any list of flat dicts: the keys are the headings."""
    found = report.get("examples") or []
    if not found:
        return ""
    keys = list(dict.fromkeys(key for example in found for key in example))

    def cell(value: Any) -> str:
        return (
            "<br>".join(html.escape(str(v)) for v in value)
            if isinstance(value, list | tuple)
            else html.escape(str(value))
        )

    head = "".join(f"<th style='text-align:left'>{html.escape(key)}</th>" for key in keys)
    rows = "".join("<tr>" + "".join(f"<td>{cell(e.get(key, ''))}</td>" for key in keys) + "</tr>" for e in found)
    return f"<section class=wrap><h2>Examples</h2><table><tr>{head}</tr>{rows}</table></section>"


def page(report: Mapping[str, Any], verdict: Verdict | None) -> str:
    """The whole page. The same report gives the same bytes."""
    test = report["test"]
    span = f", {test['first']} to {test['last']}" if test.get("first") else ""
    title = html.escape(f"{report['shop']}.{report['bundle']}")
    data = "".join(f"<li><code>{html.escape(name)}</code></li>" for name in report.get("data", [])[:40])
    more = len(report.get("data", [])) - 40
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{title}</title><style>{STYLE}</style><main><h1>{title}</h1>"
        f"<div class=soft>judged on {test['n']:,} {html.escape(test['what'])}{html.escape(span)}; "
        f"primary metric {html.escape(report['primary'])}</div>"
        f"{_verdict(report, verdict)}{_changed(report)}"
        f"<section><h2>Systems</h2>{_plot_svg(report)}{_table(report)}</section>{_examples(report)}"
        f"<section><h2>Made from</h2><ul>{data}{f'<li>and {more} more</li>' if more > 0 else ''}</ul>"
        f"<p class=soft>code {html.escape(str(report.get('code', '')))}</p></section></main></html>\n"
    )
