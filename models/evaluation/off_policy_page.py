"""The page of off-policy estimates: each policy's intervals as a plot and a table, and what cannot be concluded.

The figures come from the report's dict alone; every word that comes from data is escaped.
"""

import html
import io
from collections.abc import Mapping
from typing import Any

from models.evaluation.off_policy import PRIMARY
from models.evaluation.report import STYLE

NAMES = {
    "ips": "inverse propensity",
    "snips": "self-normalised",
    "dm": "model alone",
    "dr": "doubly robust",
    "switch_dr": "switch",
}
_SAID = {
    "more": "It would have earned more than what was shown",
    "less": "It would have earned less than what was shown",
    "undecided": "Whether it would have earned more or less is undecided",
}


def _lines(found: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any], str]]:
    """What the plot shows, from below: name, interval and colour."""
    lines = [(NAMES[name], each["value"], "#b9c0cb" if name == "dm" else "#2456c9" if name == PRIMARY else "#7b93cf")
             for name, each in reversed(_estimates(found))]  # fmt: skip
    lines.append(("what was shown", found["logged"], "#16774a"))
    own = found.get("own")
    return [*lines, (f"its own log ({own['log']})", own, "#a8481c")] if own else lines


def _figure(found: Mapping[str, Any]) -> Any:
    """Values with their intervals; the dashed line is the true value, where it is known."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "endcap", "font.family": "DejaVu Sans", "font.size": 10})
    from matplotlib.figure import Figure

    lines = _lines(found)
    figure = Figure(figsize=(8, 0.4 * len(lines) + 0.9), layout="constrained")
    axes = figure.add_subplot()
    for place, (_, value, colour) in enumerate(lines):
        axes.plot([value["low"], value["high"]], [place, place], color=colour, linewidth=3, solid_capstyle="round")
        axes.plot([value["mean"]], [place], "o", color=colour, markersize=7)
        axes.annotate(f"{value['mean']:.4g}", (value["high"], place), xytext=(7, 0), textcoords="offset points",
                      va="center", color=colour)  # fmt: skip
    if found.get("known"):
        axes.axvline(found["known"]["value"], color="#1c2430", linewidth=1, linestyle="--")
    axes.set_yticks(range(len(lines)), [name for name, _, _ in lines])
    axes.set_ylim(-0.6, len(lines) - 0.4)
    axes.margins(x=0.12)
    line = "; dashed: the true value" if found.get("known") else ""
    axes.set_xlabel(f"clicks a ranking, with {found['level']:.0%} intervals{line}")
    axes.grid(axis="x", color="#e3e7ee")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(left=False)
    return figure


def _svg(figure: Any) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()[out.getvalue().index("<svg") :]


def _cell(value: Mapping[str, Any]) -> str:
    return f"<td>{value['mean']:.3g} <span class=soft>{value['low']:.3g} to {value['high']:.3g}</span></td>"


def _table(found: Mapping[str, Any]) -> str:
    """Each estimate and its difference to the log's own mean; then to that of the target's own log, if there is one."""
    rows = [f"<tr><td>what was shown</td>{_cell(found['logged'])}<td></td></tr>"]
    rows += [f"<tr{_ours(name)}><td>{NAMES[name]}</td>{_cell(each['value'])}{_cell(each['difference'])}</tr>"
             for name, each in _estimates(found)]  # fmt: skip
    head = "<tr><th>estimate</th><th>clicks a ranking</th><th>difference to what was shown</th></tr>"
    return f"<table>{head}{''.join(rows)}</table>{_beside(found)}"


def _beside(found: Mapping[str, Any]) -> str:
    if not found.get("beside"):
        return ""
    rows = []
    for name, _ in _estimates(found):
        apart = found["beside"][name]
        within = "yes" if apart["within"] else "no"
        rows.append(f"<tr{_ours(name)}><td>{NAMES[name]}</td>{_cell(apart)}<td>{within}</td></tr>")
    head = "<tr><th>estimate</th><th>difference to its own log</th><th>zero is within</th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def _ours(name: str) -> str:
    return " class=ours" if name == PRIMARY else ""


def _estimates(found: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The estimates, always in the same order."""
    return [(name, found["estimates"][name]) for name in NAMES if name in found["estimates"]]


def _rests_on(found: Mapping[str, Any]) -> str:
    """What the estimates rest on, in one line."""
    parts = [f"{found['rankings']:,} rankings of {found['visitors']:,} visitors", f"{found['rewarded']:,} rows clicked",
             f"effective {found['ess']:,.0f} rankings and {found['rewards_ess']:,.0f} clicks",
             f"weights {found['mean_weight']:.3f} on average, at most {found['max_weight']:,.1f}",
             f"{found['tail']:,} rows carry the heaviest tenth"]  # fmt: skip
    if found.get("since"):
        parts.append(f"shown after {found['since']}, from when on it learnt nothing")
    sure = found["bernstein"]
    parts.append(f"without large numbers (Maurer and Pontil): {sure['low']:.4g} to {sure['high']:.4g}")
    if found.get("known"):
        parts.append(
            f"true value {found['known']['value']:.4g}, of the {found['known']['share']:.1%} whose query is known"
        )
    return f"<p class=soft>{html.escape('; '.join(parts))}.</p>"


def _policy(surface: str, name: str, found: Mapping[str, Any]) -> str:
    word = _SAID.get(found.get("says", ""), "Nothing can be concluded")
    why = "".join(f"<li>✗ {html.escape(reason)}</li>" for reason in found["why"])
    body = f"{_svg(_figure(found))}{_table(found)}{_rests_on(found)}" if found["estimates"] else ""
    return (
        f"<section class='verdict{'' if found['concluded'] else ' no'}'><h2>{html.escape(name)} on "
        f"{html.escape(surface)}: <b>{word}</b></h2>{f'<ul>{why}</ul>' if why else ''}{body}</section>"
    )


def page(report: Mapping[str, Any]) -> str:
    """The whole page. The same report gives the same bytes."""
    title = html.escape(f"{report['shop']}: what other policies would have earned")
    of = f"the log {html.escape(report['log'])}" if report["log"] else "the whole log"
    sections, left = [], []
    for surface, about in report["surfaces"].items():
        sections += [_policy(surface, name, found) for name, found in about["policies"].items()]
        left += [f"{html.escape(surface)}: {n:,} rankings left out, {html.escape(why)}"
                 for why, n in about["left_out"].items()]  # fmt: skip
        left += [f"{html.escape(surface)}: {html.escape(name)} is not estimated, {html.escape(why)}"
                 for name, why in about["not_estimated"].items()]  # fmt: skip
    data = "".join(f"<li><code>{html.escape(name)}</code></li>" for name in report["data"])
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{title}</title><style>{STYLE}</style><main><h1>{title}</h1>"
        f"<div class=soft>from {of}, by the propensities that it logged. An interval is of "
        f"{report['level']:.0%}, over visitors. The model alone is biased and is not concluded from.</div>"
        f"{''.join(sections)}<section><h2>Made from</h2><ul>{''.join(f'<li>{line}</li>' for line in left)}{data}</ul>"
        f"<p class=soft>code {html.escape(report['code'])}</p></section></main></html>\n"
    )
