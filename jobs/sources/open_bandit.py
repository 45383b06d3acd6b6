"""`open_bandit`: a week of a fashion shop's recommendations with the true propensity of each, as ZOZO publishes it.

The folder (`--from DIR`) holds one folder a logging policy (`random`, `bts`), each with `all/all.csv` and
`all/item_context.csv`. Each impression is a row of `rankings` with its propensity, under an id made of its policy and
the publisher's row number; a click on it is a row of `interactions` too. Three positions are shown at once, but which
impressions were shown together is not published: every impression is a ranking of its own.

The publisher hides who visitors are. `visitor_id` is a segment: the first eight characters of each of the four hidden
features, stable from file to file. So a "visitor" here is all people with the same features; numbers of visitors mean
nothing, and histories are those of a crowd. Items have no words either: the title is made of the id.

Both policies list the same 80 items, so each comes twice; `clean` drops the second. Hidden features of items and
visitors are kept in `extra`. Left out: the 80 columns of affinity between visitor and item, zero in nearly every row,
and the row number of the items' list.
"""

from datetime import date, timedelta

from jobs.sources import FILE, Made, Row, RowFile, Source, always

FEATURES = tuple(f"user_feature_{n}" for n in range(4))
_NUMBER = ""  # the publisher's row number has no name
_AFFINITIES = ("user-item_affinity_*",)


def segment(row: Row) -> str | None:
    """The visitor's segment; None if nothing is told of them."""
    told = [str(row.get(name) or "")[:8] for name in FEATURES]
    return "-".join(told) if any(told) else None


def ranking_id(row: Row) -> str:
    """POLICY-NUMBER, by the folder and the publisher's row number."""
    return f"{str(row[FILE]).split('/')[0]}-{row[_NUMBER]}"


_VISITOR = Made(segment, FEATURES)
_RANKING = Made(ranking_id, (FILE, _NUMBER))

SOURCE = Source(
    name="open_bandit",
    doc="impressions of 80 fashion items under two logging policies, with propensities and clicks",
    licence="ZOZO Open Bandit Dataset, CC BY 4.0",
    first=date(2019, 11, 24),
    last=date(2019, 11, 30),
    delay=timedelta(0),
    needs_folder=True,
    rows=(
        RowFile(
            table="items",
            pattern="*/all/item_context.csv",
            format="csv",
            columns={"item_id": "item_id", "title": Made(lambda row: f"fashion item {row['item_id']}", ("item_id",))},
            left_out=(_NUMBER,),
        ),
        RowFile(
            table="rankings",
            pattern="*/all/all.csv",
            format="csv",
            columns={
                "ranking_id": _RANKING,
                "event_time": "timestamp",
                "visitor_id": _VISITOR,
                "surface": always("recommend"),
                "item_id": "item_id",
                "position": "position",
                "propensity": "propensity_score",
            },
            reads=("click",),
            kept=FEATURES,
            left_out=_AFFINITIES,
        ),
        RowFile(
            table="interactions",
            pattern="*/all/all.csv",
            format="csv",
            columns={
                "interaction_id": Made(lambda row: f"{ranking_id(row)}-click", (FILE, _NUMBER)),
                "event_time": "timestamp",
                "visitor_id": _VISITOR,
                "item_id": "item_id",
                "kind": always("click"),
                "ranking_id": _RANKING,
            },
            where=lambda row: row.get("click") == "1",
            reads=("click",),
            left_out=_AFFINITIES,
        ),
    ),
)
