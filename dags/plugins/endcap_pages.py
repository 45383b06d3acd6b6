"""A shop's pages beside Airflow's own: Data Docs and the data dictionary, for whoever is logged in.

Served by Airflow's API server under /endcap/SHOP/, so that a link in the UI works on any machine: a browser opens no
file:// address from a page of the web. Only what lies in `$ENDCAP_HOME/SHOP/docs` is given out; it holds counts and
the words of expectations, no row.
"""

import os
import re
from pathlib import Path
from typing import Annotated

from airflow.api_fastapi.core_api.security import get_user
from airflow.plugins_manager import AirflowPlugin
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import FileResponse

PREFIX = "/endcap"
# The pages need no script, and nothing from elsewhere; should one ever hold either, it is not run.
HEADERS = {
    "Content-Security-Policy": "sandbox allow-popups; default-src 'none'; style-src 'self' 'unsafe-inline'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
KINDS = {".html", ".css", ".js", ".json", ".png", ".svg", ".ico"}


def page(home: Path, shop: str, path: str) -> Path | None:
    """The file that a request asks for, or None: unknown, of another kind, or outside the shop's docs by any trick."""
    if not re.fullmatch(r"\w[\w-]*", shop):
        return None
    docs = (home / shop / "docs").resolve()
    try:
        file = (docs / (path or "index.html")).resolve()
    except ValueError:  # a null byte
        return None
    if not file.is_relative_to(docs) or file.suffix not in KINDS or not file.is_file():
        return None
    return file


app = FastAPI(title="Endcap's pages", docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(get_user)])


@app.get("/{shop}/{path:path}")
def docs(shop: str, path: Annotated[str, "inside the shop's docs"]) -> FileResponse:
    """One file of a shop's docs; 404 for whatever is not one, without saying why."""
    home = Path(os.environ.get("ENDCAP_HOME") or Path.home() / ".endcap").expanduser()
    file = page(home, shop, path)
    if file is None:
        raise HTTPException(404, "no such page: run 'python -m jobs validate' or 'python -m jobs dictionary' first")
    return FileResponse(file, headers=HEADERS)


class Pages(AirflowPlugin):
    """What Airflow is told of."""

    name = "endcap_pages"
    fastapi_apps = [{"app": app, "url_prefix": PREFIX, "name": "Endcap's pages"}]  # noqa: RUF012  Airflow's own words
