"""How many look-ups there were, how they ended and how long they took: counts of this process, for Prometheus.

No entity and no value is in them. They are counted in plain numbers, at a microsecond a look-up, and put into
Prometheus's words when they are asked for; where prometheus-client is not installed there is nothing to ask.
"""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
"""Upper bounds of the histogram, in seconds."""
_LOCK = threading.Lock()
_ROWS: Counter[tuple[str, str, str]] = Counter()
_FAILURES: Counter[str] = Counter()
_TIMES: dict[str, list[int]] = {}
_SECONDS: dict[str, float] = {}


def answered(service: str, counts: Mapping[tuple[str, str], int], seconds: float) -> None:
    """A look-up was answered: how many rows of each view and state there were, and how long it took."""
    with _LOCK:
        for (view, state), count in counts.items():
            _ROWS[service, view, state] += count
        times = _TIMES.get(service)
        if times is None:
            times = _TIMES[service] = [0] * (len(BUCKETS) + 1)
        times[bisect_left(BUCKETS, seconds)] += 1
        _SECONDS[service] = _SECONDS.get(service, 0.0) + seconds


def failed(service: str) -> None:
    """The store did not answer."""
    with _LOCK:
        _FAILURES[service] += 1


class _Counted:
    """What was counted, as prometheus-client collects it."""

    def collect(self) -> Iterator[Any]:
        """The three families, each label in order."""
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

        with _LOCK:
            rows, failures = sorted(_ROWS.items()), sorted(_FAILURES.items())
            times = [(service, list(counts), _SECONDS[service]) for service, counts in sorted(_TIMES.items())]
        found = CounterMetricFamily("endcap_feature_rows", "Rows looked up", labels=["service", "view", "state"])
        for labels, count in rows:
            found.add_metric(labels, count)
        yield found
        spread = HistogramMetricFamily("endcap_feature_lookup_seconds", "Time of a look-up", labels=["service"])
        for service, counts, seconds in times:
            below = [(str(bound), sum(counts[: n + 1])) for n, bound in enumerate((*BUCKETS, "+Inf"))]
            spread.add_metric([service], buckets=below, sum_value=seconds)
        yield spread
        lost = CounterMetricFamily("endcap_feature_failures", "Look-ups the store did not answer", labels=["service"])
        for service, count in failures:
            lost.add_metric([service], count)
        yield lost


def text() -> bytes:
    """All of it in Prometheus's text format; empty without prometheus-client."""
    try:
        from prometheus_client import CollectorRegistry, generate_latest
    except ImportError:
        return b""
    registry = CollectorRegistry()
    registry.register(_Counted())
    return bytes(generate_latest(registry))
