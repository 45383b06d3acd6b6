"""What a shop wants of the model gate, where that differs from the defaults: a small file in its home.

    $ENDCAP_HOME/SHOP/policy/gate.json

It names what it changes, e.g. {"review": "human", "p99_ms": 200}. The gate itself reads no file: it is given the
policy, and its verdict holds all of it, so that what is signed says by which limits.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from jobs.console import Problem, suggest
from jobs.warehouse import home
from models.evaluation.gates import Policy

SHARES = ("worse", "cheaper", "segment_alpha", "segment_doubt", "ece", "diversity", "membership_auc", "attribute_gain")
COUNTS = ("least", "segment_least", "strangers", "draws", "size_bytes")
REVIEWS = ("auto", "human")


def path_of(shop: str) -> Path:
    """Where the gate's policy of a shop lies, if it has one of its own."""
    return home() / shop / "policy" / "gate.json"


def load(shop: str) -> Policy:
    """The policy of a shop: the defaults, but for what its file changes. A `Problem` if that is no policy."""
    path = path_of(shop)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Policy()
    except ValueError:
        values = None
    mend = "mend it, or move it away for the defaults"
    if not isinstance(values, dict):
        raise Problem("the gate's policy is no JSON object", where=str(path), do=mend)
    known = [field.name for field in fields(Policy)]
    for name in values:
        if name not in known:
            raise Problem(f"the gate's policy has an unknown setting '{name}'", where=str(path),
                          do=suggest(name, known))  # fmt: skip
    if fault := wrong(asdict(Policy()) | values):
        raise Problem(f"the gate's policy: {fault}", where=str(path), do=mend)
    return Policy(**values)


def wrong(values: Mapping[str, Any]) -> str | None:
    """The first setting that cannot be meant, in words; None if all can.

    >>> wrong(asdict(Policy()) | {"alpha": 0.7})
    'alpha must lie between 0 and 0.5, and is 0.7'
    """
    for name, default in asdict(Policy()).items():
        value = values[name]
        if name == "review":
            if value not in REVIEWS:
                return f"review must be {' or '.join(REVIEWS)}, and is {value!r}"
        elif not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            return f"{name} must be a number, and is {value!r}"
        elif isinstance(default, int) and not isinstance(value, int):
            return f"{name} must be a whole number, and is {value!r}"
        elif value < 0 or (name in COUNTS and value == 0):
            return f"{name} must not be {'0' if value == 0 else 'below 0'}, and is {value}"
        elif name in SHARES and value > 1:
            return f"{name} must be a share from 0 to 1, and is {value}"
    if not 0 < values["alpha"] < 0.5:
        return f"alpha must lie between 0 and 0.5, and is {values['alpha']}"
    if values["tries"] < 2:
        return f"tries must be 2 or more, and is {values['tries']}"
    if values["segment_doubt"] > 0.5 or values["segment_alpha"] > 0.5:
        return "segment_alpha and segment_doubt must be at most 0.5: a larger p speaks against no segment"
    return None
