"""A report of an evaluation with nothing against it, for whoever judges reports: a test changes what it is about."""

from typing import Any

from models.evaluation.gates import Policy, level

ENOUGH = {"intra_list": 0.6, "coverage": 0.2, "novelty": 9.0, "serendipity": 0.02}


def paired(mean: Any = 0.02, low: Any = 0.01, high: Any = 0.03, n: int = 100, tries: int = 1) -> dict[str, Any]:
    """Candidate less champion, with its interval at the level that so many tries ask for."""
    return {"metric": "ndcg@10", "mean": mean, "low": low, "high": high, "n": n, "level": level(tries, Policy())}


def segment(kind: str = "language", name: str = "english", **more: Any) -> dict[str, Any]:
    """A segment of fifty that is as good as it was."""
    return {
        "kind": kind, "name": name, "n": 50, "clusters": 50, "protected": False, "candidate": 0.42, "champion": 0.4,
        "mean": 0.02, "low": -0.01, "high": 0.05, "p_worse": 0.9, "p_holm": 1.0, "margin": 0.01, **more,
    }  # fmt: skip


def passing(**more: Any) -> dict[str, Any]:
    """A whole report, of a candidate that learnt from nobody and is better by 0.02 on 100 queries. `more` replaces."""
    return {
        "shop": "tiny", "bundle": "search", "primary": "ndcg@10", "test": {"n": 100},
        "written_at": "2026-11-20T12:00:00+00:00", "newest": "2026-11-15", "seen": "2026-11-18",
        "paired": paired(), "tries": {"number": 1},
        "power": {"detectable": 0.014, "level": 0.95, "power": 0.8, "n": 100},
        "systems": {"champion": {"ndcg@10": {"mean": 0.4}}, "candidate": {"ndcg@10": {"mean": 0.42}}},
        "segments": [segment(), segment(name="chinese"), segment("visitor", "new", n=3, clusters=3, small=True)],
        "calibration": {"exempt": "ranks have no probabilities"},
        "diversity": {"candidate": dict(ENOUGH), "champion": dict(ENOUGH)},
        "size_bytes": {"candidate": 23_000_000, "champion": 23_000_000},
        "latency_ms": {"p50": 1.0, "p99": 20.0}, "latency_champion_ms": {"p50": 1.0, "p99": 20.0},
        "reproduced": {"same": True, "first": "0123abcd", "again": "0123abcd"},
        "learnt_from_visitors": [], "privacy": {}, "features": [], "skew": {},
        "due": {"candidate": None, "champion": None}, **more,
    }  # fmt: skip
