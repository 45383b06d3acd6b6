"""Candidate and champion. The only file that speaks to the model registry.

MLflow shows versions, aliases and verdicts to people; who serves is decided by the signed records of
models/promotions.py, which anyone who may move an alias cannot write.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs.console import Problem, Refused
from models import promotions, tracking
from models.bundle import Bundle, bundles, keep, open_bundle
from models.promotions import champion
from models.reviewing import Approval

__all__ = ["candidate", "champion", "editors", "follow", "promote", "register", "tag", "versions"]


def _model(shop: str, name: str) -> str:
    return f"{shop}.{name}"


def _ensure(live: Any, model: str) -> None:
    """The registered model, made at the first use."""
    if not any(found.name == model for found in live.search_registered_models(f"name = '{model}'")):
        live.create_registered_model(model)


def register(
    shop: str, name: str, folder: Path, run_id: str | None = None, tags: Mapping[str, Any] | None = None, *,
    alias: str | None = "candidate",
) -> int:  # fmt: skip
    """Give a sealed bundle its version, keep it as SHOP/bundles/NAME/VERSION, and point `alias` at it.

    The registry's number is the folder's name. Versions are numbered one process at a time; if the
    files cannot be kept, the version is taken back.
    """
    sealed, live, model = open_bundle(folder), tracking.client(), _model(shop, name)
    with tracking.locked("register"):
        _ensure(live, model)
        words = {"kind": sealed.kind, "sha256": sealed.sha256, "code": sealed.code, **(tags or {})}
        made = live.create_model_version(model, source=_source(live, sealed, run_id), run_id=run_id,
                                         tags={key: str(value) for key, value in words.items()})  # fmt: skip
        version = int(made.version)
        try:
            keep(folder, version)
        except BaseException:
            live.delete_model_version(model, str(version))
            raise
    if alias:
        live.set_registered_model_alias(model, alias, str(version))
    return version


def _source(live: Any, sealed: Bundle, run_id: str | None) -> str:
    """Where the registry says the files are: with the run on a server elsewhere, else the shop's own folder."""
    if tracking.tracking_uri().startswith("http") and run_id:
        live.log_artifacts(run_id, str(sealed.folder), "bundle")
        return f"runs:/{run_id}/bundle"
    return bundles(sealed.shop, sealed.name).as_uri()


def _aliased(live: Any, shop: str, name: str, alias: str) -> int | None:
    model = _model(shop, name)
    for found in live.search_registered_models(f"name = '{model}'"):
        if found.name == model and alias in found.aliases:
            return int(found.aliases[alias])
    return None


def candidate(shop: str, name: str) -> Bundle | None:
    """The bundle that asks to serve, or None."""
    with _reached():
        version = _aliased(tracking.client(), shop, name, "candidate")
    return None if version is None else open_bundle(bundles(shop, name) / str(version))


def tag(shop: str, name: str, version: int, values: Mapping[str, Any]) -> None:
    """Words on a version, for people who compare versions."""
    live = tracking.client()
    for key, value in values.items():
        live.set_model_version_tag(_model(shop, name), str(version), key, str(value)[:4000])


def tags(shop: str, name: str, version: int) -> dict[str, str]:
    """The words on a version."""
    return dict(tracking.client().get_model_version(_model(shop, name), str(version)).tags)


def editors(shop: str, name: str) -> list[str]:
    """The accounts that may write words on a bundle's versions, but for our own, by name: MLflow's own accounts
    (`mlflow server --app-name basic-auth`) and its administrators. `Refused` if it does not tell us.

    Who may edit the model or its versions is counted, also where a narrower right would forbid one of the two.
    """
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    creds = get_default_host_creds(tracking.tracking_uri())

    def told(endpoint: str, **asked: str) -> Any:
        answer = http_request(creds, f"/api/{endpoint}", "GET", params=asked)
        if answer.status_code != 200:
            raise Refused(
                f"MLflow does not say who may edit {_model(shop, name)} (HTTP {answer.status_code})",
                do="let it keep accounts ('--app-name basic-auth'), and give ours MANAGE of its workspace",
            )
        return answer.json()

    def may(user: Mapping[str, Any], kind: str, which: str) -> bool:
        found = told("3.0/mlflow/users/permissions/get", username=user["username"], resource_type=kind,
                     resource_id=which)  # fmt: skip
        return found["permission"] in ("EDIT", "MANAGE")

    with _reached():
        mine = told("2.0/mlflow/users/current")["user"]["username"]
        others = [user for user in told("2.0/mlflow/users/list")["users"] if user["username"] != mine]
        of = (("registered_model", _model(shop, name)), ("registered_model_version", "*"))
        return sorted(user["username"] for user in others if user["is_admin"] or any(may(user, *each) for each in of))


def promote(
    bundle: Bundle, *, verdict: Mapping[str, Any], action: promotions.Action = "promote", **signed: Any
) -> promotions.Record:
    """Let `bundle` serve, by a signed record, which alone decides; `follow` shows it. `signed` is what else it holds:
    report, policy, approval, audit."""
    if not verdict.get("accepted"):
        raise Refused(f"{bundle.shop}.{bundle.name} {bundle.version} was not accepted", do="see the report")
    return promotions.serve(bundle.shop, bundle, action, verdict=verdict, **signed)


def follow(shop: str, name: str, decided: Iterable[promotions.Record] = ()) -> None:
    """Let MLflow show what the signed records say: `champion` at who serves, `candidate` no more at it, and each
    version of `decided` with its verdict. A `Problem` if MLflow does not answer: nothing but what it shows is lost."""
    now = promotions.find_champion(shop, name)
    if now is None:
        return
    with _reached():
        live, model = tracking.client(), _model(shop, name)
        _ensure(live, model)
        shown = _aliased(live, shop, name, "champion")
        if shown != now.bundle.version:
            live.set_registered_model_alias(model, "champion", str(now.bundle.version))
        if _aliased(live, shop, name, "candidate") == now.bundle.version:
            live.delete_registered_model_alias(model, "candidate")
        for record in decided:
            for version, words in _words(record):
                tag(shop, name, version, words)


def _words(record: promotions.Record) -> Iterator[tuple[int, dict[str, Any]]]:
    """What versions are told of a decision: version and tags."""
    why = record.verdict.get("why", "")
    if record.action == "rollback":
        earlier = {each.sequence: each for each in promotions.records(record.shop, record.name)[0]}
        ended = earlier.get(record.verdict.get("ended", 0))
        if ended is not None:
            yield ended.version, {"verdict": "rolled back"}
        return
    told = {"verdict": "refused" if record.action == "refuse" else record.action, "why": why}
    if record.approval:
        told |= Approval(**record.approval).tags
    yield record.version, told


@contextmanager
def _reached() -> Iterator[None]:
    """MLflow's own words, and those of its database and its wire, as one `Problem`."""
    try:
        yield
    except Problem:
        raise
    except Exception as fault:
        first = (str(fault).strip().splitlines() or [""])[0][:200]
        what, do = (
            f"the model registry does not answer ({type(fault).__name__}: {first})",
            "start it, then run this again",
        )
        raise Problem(what, where=tracking.tracking_uri(), do=do) from fault


def versions(shop: str, name: str) -> list[dict[str, Any]]:
    """Every version, newest first: number, kind, aliases and tags."""
    live, model = tracking.client(), _model(shop, name)
    found = live.search_model_versions(f"name = '{model}'")
    aliases: dict[int, list[str]] = {}
    for registered in live.search_registered_models(f"name = '{model}'"):
        for alias, version in registered.aliases.items():
            aliases.setdefault(int(version), []).append(alias)
    rows = [
        {
            "version": int(v.version),
            "aliases": sorted(aliases.get(int(v.version), [])),
            "tags": dict(v.tags),
            "run": v.run_id or None,
            "registered_at": datetime.fromtimestamp(v.creation_timestamp / 1000, UTC),
        }
        for v in found
    ]
    return sorted(rows, key=lambda row: -int(str(row["version"])))
