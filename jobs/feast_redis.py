"""Feast's Redis store, with the one rule that its guard lacks: an equal event time is a correction."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

from feast.infra.online_stores.helpers import _redis_key
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig, _versioned_fv_name
from google.protobuf.timestamp_pb2 import Timestamp  # type: ignore[import-untyped]


class GuardedRedisOnlineStoreConfig(RedisOnlineStoreConfig):  # type: ignore[misc]
    """Settings of the store below. `skip_dedup` is on because the guard is ours, and runs before it."""

    type: Literal["jobs.feast_redis.GuardedRedisOnlineStore"] = "jobs.feast_redis.GuardedRedisOnlineStore"
    skip_dedup: bool = True


def _micros(stored: bytes | None) -> int:
    """The moment that Feast stored, in microseconds since 1970; -1 if none."""
    if not stored:
        return -1
    stamp = Timestamp()
    stamp.ParseFromString(stored)
    return int(stamp.seconds * 1_000_000 + stamp.nanos // 1000)


class GuardedRedisOnlineStore(RedisOnlineStore):  # type: ignore[misc]
    """An older value never replaces a newer one; an equal event time does: a day that was computed again.

    Reading and writing are two steps: materialise is the only writer (it holds a lock).
    """

    def online_write_batch(
        self,
        config: Any,
        table: Any,
        data: list[tuple[Any, dict[str, Any], datetime, datetime | None]],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows of (entity key, values, event time, known time)."""
        client = self._get_client(config.online_store)
        version = config.entity_key_serialization_version
        field = f"_ts:{_versioned_fv_name(table, config)}"
        with client.pipeline(transaction=False) as pipe:
            for entity_key, *_ in data:
                pipe.hget(_redis_key(config.project, entity_key, entity_key_serialization_version=version), field)
            stored = [_micros(value) for value in pipe.execute()]
        zero = datetime(1970, 1, 1, tzinfo=UTC)
        newer = [
            row
            for row, at in zip(data, stored, strict=True)
            if (row[2].astimezone(UTC) - zero).total_seconds() * 1_000_000 >= at - 0.5
        ]
        if newer:
            super().online_write_batch(config, table, newer, None)
        if progress:
            progress(len(data))
