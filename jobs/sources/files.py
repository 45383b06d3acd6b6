"""`files`: any shop's folder of CSV, TSV, JSON lines or Parquet, with a mapping `endcap.toml` that says what is what.

The mapping names, for each of our raw tables, the publisher's files and fields (docs/mapping.md). It gives the span and
the clock too: those that stand here are none.
"""

from datetime import date, timedelta

from jobs.sources import Source

SOURCE = Source(
    name="files",
    doc="a folder of CSV, TSV, JSON lines or Parquet, with a mapping",
    licence="the publisher's",
    first=date(1970, 1, 1),
    last=date(1970, 1, 1),
    delay=timedelta(0),
    needs_folder=True,
    mapped=True,
)
