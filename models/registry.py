"""Candidate and champion. The only file that speaks to the model registry.

MLflow shows versions, aliases and verdicts to people; who serves is decided by the signed records of
models/promotions.py, which anyone who may move an alias cannot write.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.console import Refused
from models import promotions, tracking
from models.bundle import Bundle, bundles, keep, open_bundle
from models.promotions import champion

__all__ = ["candidate", "champion", "promote", "refuse", "register", "rollback", "tag", "versions"]


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
    version = _aliased(tracking.client(), shop, name, "candidate")
    return None if version is None else open_bundle(bundles(shop, name) / str(version))


def tag(shop: str, name: str, version: int, values: Mapping[str, Any]) -> None:
    """Words on a version, for people who compare versions."""
    live = tracking.client()
    for key, value in values.items():
        live.set_model_version_tag(_model(shop, name), str(version), key, str(value)[:4000])


def promote(
    bundle: Bundle, *, report: str = "", verdict: Mapping[str, Any], action: promotions.Action = "promote"
) -> promotions.Record:
    """Let `bundle` serve: the signed record first, which decides, then the alias that shows it."""
    if not verdict.get("accepted"):
        raise Refused(f"{bundle.shop}.{bundle.name} {bundle.version} was not accepted", do="see the report")
    record = promotions.serve(bundle.shop, bundle, action, report=report, verdict=verdict)
    live, model = tracking.client(), _model(bundle.shop, bundle.name)
    live.set_registered_model_alias(model, "champion", str(bundle.version))
    if _aliased(live, bundle.shop, bundle.name, "candidate") == bundle.version:
        live.delete_registered_model_alias(model, "candidate")
    tag(bundle.shop, bundle.name, bundle.version, {"verdict": action, "why": verdict.get("why", "")})
    return record


def refuse(bundle: Bundle, *, report: str, verdict: Mapping[str, Any]) -> promotions.Record:
    """Record that `bundle` was refused, and why. The champion goes on serving."""
    record = promotions.append(bundle.shop, bundle, "refuse", report=report, verdict=verdict)
    tag(bundle.shop, bundle.name, bundle.version, {"verdict": "refused", "why": verdict.get("why", "")})
    return record


def rollback(shop: str, name: str) -> tuple[promotions.Record, promotions.Record]:
    """The champion before this one serves again; returns its new record and the record that ended."""
    made, ended = promotions.roll_back(shop, name)
    tracking.client().set_registered_model_alias(_model(shop, name), "champion", str(made.version))
    tag(shop, name, ended.version, {"verdict": "rolled back"})
    return made, ended


def versions(shop: str, name: str) -> list[dict[str, Any]]:
    """Every version, newest first: number, kind, aliases and tags."""
    live, model = tracking.client(), _model(shop, name)
    found = live.search_model_versions(f"name = '{model}'")
    aliases: dict[int, list[str]] = {}
    for registered in live.search_registered_models(f"name = '{model}'"):
        for alias, version in registered.aliases.items():
            aliases.setdefault(int(version), []).append(alias)
    rows = [
        {"version": int(v.version), "aliases": sorted(aliases.get(int(v.version), [])), "tags": dict(v.tags)}
        for v in found
    ]
    return sorted(rows, key=lambda row: -int(str(row["version"])))
