"""The answer by a tag, on a real MLflow with accounts: who may write it, and when it is worth nothing.

One server for all tests of this file. It is not ours that says who may write: each refusal of a tag here is MLflow's.
"""

import json
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobs.console import Refused
from jobs.house.services import free_port
from models import registry, reviewing
from tests.models.test_reviewing import NAME, SHOP, judged

pytestmark = pytest.mark.long
MODEL = f"{SHOP}.{NAME}"
PATIENCE = 600.0  # seconds for a start on a busy machine


@dataclass(frozen=True)
class Server:
    """A running MLflow, and the passwords of its accounts: `platform` administers it, the others are users."""

    uri: str
    passwords: dict[str, str]

    def ask(self, method: str, path: str, user: str | None = "platform", **values: Any) -> int:
        """The HTTP status of a request as one of the accounts, or (None) as nobody."""
        request = urllib.request.Request(f"{self.uri}/api/{path}", json.dumps(values).encode(), method=method,
                                         headers={"Content-Type": "application/json"})  # fmt: skip
        if user is not None:
            known = b64encode(f"{user}:{self.passwords[user]}".encode()).decode()
            request.add_header("Authorization", f"Basic {known}")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refusal:
            return refusal.code

    def write(self, word: str, user: str | None) -> int:
        """Set the tag `review` of version 1, as the MLflow UI does."""
        return self.ask("POST", "2.0/mlflow/model-versions/set-tag", user, name=MODEL, version="1",
                        key="review", value=word)  # fmt: skip

    def may(self, user: str, permission: str, kind: str = "registered_model", which: str = MODEL) -> None:
        words = {"username": user, "resource_type": kind, "resource_id": which}
        self.ask("POST", "3.0/mlflow/users/permissions/revoke", **words)
        assert self.ask("POST", "3.0/mlflow/users/permissions/grant", **words, permission=permission) == 200


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port(5400)
    server = Server(f"http://127.0.0.1:{port}", {who: secrets.token_urlsafe(16) for who in ("platform", "ann", "eve")})
    (folder / "auth.ini").write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{folder / 'auth.db'}\n"
        f"admin_username = platform\nadmin_password = {server.passwords['platform']}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        "auth_cache_ttl_seconds = 600\n"  # else each request hashes its password anew, which is most of its time
    )
    environ = {**os.environ, "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"), "MLFLOW_DISABLE_TELEMETRY": "true",
               "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex()}  # fmt: skip
    words = (sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--host", "127.0.0.1", "--port",
             str(port), "--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}",
             "--artifacts-destination", str(folder / "artifacts"))  # fmt: skip
    with (folder / "log").open("w") as log:
        child = subprocess.Popen(words, env=environ, stdout=log, stderr=log, cwd=folder, start_new_session=True)
    try:
        until = time.monotonic() + PATIENCE
        while not _answers(server.uri):
            assert child.poll() is None and time.monotonic() < until, (folder / "log").read_text()[-2000:]
            time.sleep(0.5)
        for who in ("ann", "eve"):
            assert server.ask("POST", "2.0/mlflow/users/create", username=who, password=server.passwords[who]) == 200
        yield server
    finally:
        os.killpg(child.pid, 15)
        child.wait(timeout=PATIENCE)


def _answers(uri: str) -> bool:
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture
def asked(mlflow: Server, home: Path, monkeypatch: pytest.MonkeyPatch) -> reviewing.Asked:
    """Version 1 of the model, judged, and the question on it; `ann` is the reviewer and may edit it, `eve` may read."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.uri)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "platform")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", mlflow.passwords["platform"])
    monkeypatch.setenv("ENDCAP_REVIEWERS", "ann")
    if mlflow.ask("POST", "2.0/mlflow/registered-models/create", name=MODEL) == 200:
        assert mlflow.ask("POST", "2.0/mlflow/model-versions/create", name=MODEL, source="s3://none/none") == 200
    mlflow.may("ann", "EDIT")
    mlflow.may("eve", "READ")
    judged(home, version=1)
    registry.tag(SHOP, NAME, 1, {"review": "approve", "review.asked": ""})  # from before anybody asked
    about = reviewing.asked(SHOP, NAME)
    assert not reviewing.watch(about, 24)["decided"]
    return about


def kept(about: reviewing.Asked) -> reviewing.Approval | None:
    return reviewing.decision(SHOP, NAME, 1, about.bundle, about.digest)


def test_the_tag_of_the_only_reviewer_who_may_edit_counts_and_names_them(mlflow: Server, asked: Any) -> None:
    assert not reviewing.watch(asked, 24)["decided"]
    assert mlflow.write("approve", "ann") == 200
    assert reviewing.watch(asked, 24)["why"] == "approved by ann (mlflow)"
    assert (found := kept(asked)) is not None and found.approved and found.responder == "ann"
    assert registry.tags(SHOP, NAME, 1)["review.by"] == "ann"


@pytest.mark.parametrize(("who", "status"), [(None, 401), ("eve", 403)])
def test_mlflow_itself_refuses_the_tag_of_nobody_and_of_who_may_only_read(
    mlflow: Server, asked: Any, who: str | None, status: int
) -> None:
    assert mlflow.write("approve", who) == status
    assert not reviewing.watch(asked, 24)["decided"] and kept(asked) is None
    assert registry.tags(SHOP, NAME, 1)["review"].startswith("waits")


@pytest.mark.parametrize("of", [("registered_model", MODEL), ("registered_model_version", "*")])
def test_where_somebody_else_may_write_it_no_tag_counts(mlflow: Server, asked: Any, of: tuple[str, str]) -> None:
    mlflow.may("eve", "EDIT", *of)
    try:
        assert mlflow.write("approve", "eve") == 200, "MLflow takes it, and does not say from whom"
        with pytest.raises(Refused, match=r"eve may edit sample\.search too"):
            reviewing.watch(asked, 24)
        assert kept(asked) is None
    finally:
        mlflow.may("eve", "READ", *of)


def test_without_a_reviewer_who_may_edit_nobody_is_waited_for(mlflow: Server, asked: Any) -> None:
    mlflow.may("ann", "READ")
    with pytest.raises(Refused, match="no reviewer may edit"):
        reviewing.watch(asked, 24)


def test_an_account_of_ours_that_is_not_told_who_may_edit_takes_no_tag(
    mlflow: Server, asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mlflow.write("approve", "ann") == 200
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", mlflow.passwords["ann"])
    with pytest.raises(Refused, match=r"does not say who may edit sample\.search \(HTTP 403\)"):
        reviewing.watch(asked, 24)
    assert kept(asked) is None
