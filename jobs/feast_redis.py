"""Feast's Redis store, read and written below Feast's own API: the same bytes in the same places, in fewer steps.

A command is packed once for all entities but for its key, and views of one entity are read together. Writing goes by a
script that the server runs: it compares event times and writes in one step, so that of several writers an older value
never replaces a newer one; an equal event time is a correction.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Literal
from weakref import WeakKeyDictionary

from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import _mmh3
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig, _versioned_fv_name
from google.protobuf.timestamp_pb2 import Timestamp  # type: ignore[import-untyped]
from redis import Redis
from redis import asyncio as redis_asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from jobs import entity_keys
from jobs.online import ZERO, Row, View, Written

TOGETHER = 500
"""Commands that are sent before their answers are read."""
PATIENCE = {"socket_timeout": 5.0, "socket_connect_timeout": 2.0}
"""Seconds that a server may keep us waiting, if the connection string says nothing else. What fails is tried once more,
at once: the connection may have been an old one. The client's own three tries with pauses take seconds."""

CONNECTIONS = 16
"""Connections of one event loop: more questions than these wait their turn, where each would open one of its own."""

WRITE = """
local stored = redis.call('HGET', KEYS[1], ARGV[1])
if stored then
  local seconds, nanos, at = 0, 0, 1
  while at <= #stored do
    local tag, number, scale = stored:byte(at), 0, 1
    repeat
      at = at + 1
      local part = stored:byte(at)
      number = number + (part % 128) * scale
      scale = scale * 128
    until part < 128
    at = at + 1
    if tag == 8 then seconds = number elseif tag == 16 then nanos = number end
  end
  local given, more = tonumber(ARGV[2]), tonumber(ARGV[3])
  if seconds > given or (seconds == given and nanos > more) then return 0 end
end
redis.call('HSET', KEYS[1], unpack(ARGV, 4))
return 1
"""
"""The guard: the field of the event time, seconds and nanoseconds of the new one, and what to write. The stored one is
protobuf's Timestamp: field 1 are seconds, field 2 nanoseconds, each a number in base 128, lowest digit first."""
WRITE_NAME = hashlib.sha1(WRITE.encode(), usedforsecurity=False).hexdigest().encode()


class GuardedRedisOnlineStoreConfig(RedisOnlineStoreConfig):  # type: ignore[misc]
    """Settings of the store below. `skip_dedup` is on because the guard is ours."""

    type: Literal["jobs.feast_redis.GuardedRedisOnlineStore"] = "jobs.feast_redis.GuardedRedisOnlineStore"
    skip_dedup: bool = True


def packed(part: bytes) -> bytes:
    """One word of a command, as Redis wants it (RESP).

    >>> packed(b"HMGET")
    b'$5\\r\\nHMGET\\r\\n'
    """
    return b"$%d\r\n%b\r\n" % (len(part), part)


@lru_cache(maxsize=4096)
def _moment(stored: bytes) -> datetime | None:
    """The moment that Feast stored, exact to the microsecond; None for none."""
    stamp = Timestamp()
    stamp.ParseFromString(stored)
    found = ZERO + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000)
    return found if found > ZERO else None


@lru_cache(maxsize=64)
def _field(view: str, feature: str) -> bytes:
    return bytes(_mmh3(f"{view}:{feature}"))


def _stamp(view: str) -> bytes:
    return f"_ts:{view}".encode()


@lru_cache(maxsize=256)
def _reading(views: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[bytes, bytes, tuple[tuple[int, int], ...]]:
    """What stands before and after the key in a command that reads these views' features, and where in the answer each
    view's begin and end; its event time follows them."""
    fields, places = list[bytes](), list[tuple[int, int]]()
    for view, names in views:
        places.append((len(fields), len(fields) + len(names)))
        fields += [*(_field(view, name) for name in names), _stamp(view)]
    return b"*%d\r\n%b" % (len(fields) + 2, packed(b"HMGET")), b"".join(map(packed, fields)), tuple(places)


class GuardedRedisOnlineStore(RedisOnlineStore):  # type: ignore[misc]
    """Feast's Redis store of one server, with the guard, reads of many views at once, and notes."""

    FAULTS = (RedisError, OSError)
    _client: Any = None

    def __init__(self) -> None:
        super().__init__()
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = WeakKeyDictionary()
        self._turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    def address(self, config: Any) -> str:
        """Host and port, without what else the connection string holds."""
        return f"redis at {config.online_store.connection_string.partition(',')[0]}"

    def _get_client(self, online_store_config: Any) -> Any:
        if self._client is None:
            (node, *_), given = self._parse_connection_string(online_store_config.connection_string)
            self._client = Redis(**{**node, **PATIENCE, **given}, retry=Retry(NoBackoff(), 1))
        return self._client

    async def _get_client_async(self, online_store_config: Any) -> Any:
        """A client of the event loop that asks: connections of one loop are of no use in another."""
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            (node, *_), given = self._parse_connection_string(online_store_config.connection_string)
            again = AsyncRetry(NoBackoff(), 1)
            self._clients[loop] = redis_asyncio.Redis(**{**node, **PATIENCE, **given}, retry=again)
        return self._clients[loop]

    # Reading ------------------------------------------------------------------------------------------

    def read_rows(self, config: Any, asked: Sequence[tuple[View, Sequence[bytes]]]) -> list[list[Row]]:
        """For each view the row of each key, in order: one command an entity, for all views with its join keys."""
        together, commands = _commands(config.project.encode(), asked)
        answers: list[Any] = []
        for start in range(0, len(commands), TOGETHER):
            answers += self._exchange(config, commands[start : start + TOGETHER])
        return _taken_apart(asked, together, answers)

    async def read_rows_async(self, config: Any, asked: Sequence[tuple[View, Sequence[bytes]]]) -> list[list[Row]]:
        """`read_rows`, while others may go on."""
        together, commands = _commands(config.project.encode(), asked)
        pool, answers = (await self._get_client_async(config.online_store)).connection_pool, list[Any]()
        turn = self._turns.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(CONNECTIONS))
        for start in range(0, len(commands), TOGETHER):
            async with turn:
                answers += await self._exchange_async(pool, commands[start : start + TOGETHER])
        return _taken_apart(asked, together, answers)

    @staticmethod
    async def _exchange_async(pool: Any, commands: Sequence[bytes]) -> list[Any]:
        connection = await pool.get_connection()
        try:
            await connection.send_packed_command(b"".join(commands))
            return [await connection.read_response() for _ in commands]
        except BaseException:
            await connection.disconnect(nowait=True)  # answers may be under way to nobody
            raise
        finally:
            await pool.release(connection)

    def _exchange(self, config: Any, commands: Sequence[bytes]) -> list[Any]:
        """Send packed commands, and read the answer to each; the first that is an error is raised when all are read."""
        pool = self._get_client(config.online_store).connection_pool
        connection = pool.get_connection()

        def once() -> list[Any]:
            connection.send_packed_command([b"".join(commands)])
            answers, fault = [], None
            for _ in commands:
                try:
                    answers.append(connection.read_response())
                except ResponseError as wrong:
                    fault = fault or wrong
            if fault:
                raise fault
            return answers

        try:
            return list(connection.retry.call_with_retry(once, lambda _: connection.disconnect()))
        except ResponseError:
            raise
        except BaseException:
            connection.disconnect()  # answers may be under way to nobody
            raise
        finally:
            pool.release(connection)

    # Writing ------------------------------------------------------------------------------------------

    def online_write_batch(
        self,
        config: Any,
        table: Any,
        data: list[tuple[Any, dict[str, Any], datetime, datetime | None]],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows of (entity key, values, event time, known time), as Feast's API gives them."""
        version = config.entity_key_serialization_version
        for entity_key, values, event, known in data:
            key = serialize_entity_key(entity_key, entity_key_serialization_version=version)
            row = (key, [value.SerializeToString() for value in values.values()], event.astimezone(UTC), known)
            self.write_rows(config, table, list(values), [row])
        if progress:
            progress(len(data))

    def write_rows(self, config: Any, table: Any, names: Sequence[str], rows: Sequence[Written]) -> int:
        """Write rows of a view, each whole or not at all; those older than what is stored are left out. How many were
        written."""
        view, project, written = _versioned_fv_name(table, config), config.project.encode(), 0
        stamp = _stamp(view)
        before = b"*%d\r\n" % (3 + 1 + 3 + 2 + 2 * len(names)) + b"".join(
            map(packed, (b"EVALSHA", WRITE_NAME, b"1"))
        )  # fmt: skip
        fields, stamped = [packed(_field(view, name)) for name in names], packed(stamp)
        self._get_client(config.online_store).script_load(WRITE)
        for start in range(0, len(rows), TOGETHER):
            commands = []
            for key, values, event, _ in rows[start : start + TOGETHER]:
                seconds, nanos, moment = _timestamp(event)
                parts = [before, packed(key + project), stamped, seconds, nanos, stamped, moment]
                for name, value in zip(fields, values, strict=True):
                    parts += (name, b"$%d\r\n%b\r\n" % (len(value), value))
                commands.append(b"".join(parts))
            written += sum(self._exchange(config, commands))
        return written

    # What there is, and its end -----------------------------------------------------------------------

    def _keys(self, config: Any, table: Any) -> Iterator[tuple[bytes, dict[str, str]]]:
        """The keys of this project that are named by the join keys of a view, each with its entity."""
        before, project = entity_keys.names(table.join_keys), config.project.encode()
        for stored in self._get_client(config.online_store).scan_iter(count=10_000):
            if not stored.startswith(before):
                continue
            try:
                entity, rest = entity_keys.read(stored)
            except ValueError:  # another's
                continue
            if rest == project:
                yield stored, entity

    def held(self, config: Any, table: Any) -> Iterator[tuple[bytes, dict[str, str], datetime]]:
        """Every entity of which a view holds something: key, names, event time."""
        client, stamp = self._get_client(config.online_store), _stamp(_versioned_fv_name(table, config))
        length = len(config.project.encode())
        for some in _parts(self._keys(config, table), TOGETHER):
            with client.pipeline(transaction=False) as pipe:
                for stored, _ in some:
                    pipe.hget(stored, stamp)
                for (stored, entity), moment in zip(some, pipe.execute(), strict=True):
                    if moment and (at := _moment(moment)):
                        yield stored[: len(stored) - length], entity, at

    def forget(self, config: Any, table: Any, keys: Sequence[bytes]) -> None:
        """Remove what a view holds of these entities; what other views hold of them stays."""
        view, project = _versioned_fv_name(table, config), config.project.encode()
        fields = [_stamp(view), *(_field(view, feature.name) for feature in table.features)]
        with self._get_client(config.online_store).pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hdel(key + project, *fields)
            pipe.execute()

    def forget_others(self, config: Any, table: Any, key: str, beginning: str) -> int:
        """Remove the entities of this project, named as the view's are, whose `key` does not begin so; returns how many
        there were. All views of an entity lie under one key, so the first view that asks removes them for all."""
        client, gone = self._get_client(config.online_store), 0
        for stored, entity in self._keys(config, table):
            if not entity[key].startswith(beginning):
                gone += client.unlink(stored)
        return int(gone)

    def teardown(self, config: Any, tables: Sequence[Any], entities: Sequence[Any]) -> None:
        """Remove all that this project holds, of these views' entities and in notes; other projects' keys stay."""
        client = self._get_client(config.online_store)
        for table in tables:
            for some in _parts(self._keys(config, table), TOGETHER):
                client.unlink(*(stored for stored, _ in some))
        client.unlink(f"endcap:notes:{config.project}")

    def turn(self, config: Any) -> Any:
        """A lock of this project, held by one writer of sessions at a time; free after 10 s if its holder is gone."""
        name = f"endcap:sessions:{config.project}"
        return self._get_client(config.online_store).lock(name, timeout=10, sleep=0.01, blocking_timeout=20)

    def tidy(self, config: Any) -> None:
        """Redis gives freed room back by itself."""

    # Notes --------------------------------------------------------------------------------------------

    def notes(self, config: Any) -> dict[str, str]:
        """What was written down beside the values."""
        found = self._get_client(config.online_store).hgetall(f"endcap:notes:{config.project}")
        return {name.decode(): text.decode() for name, text in found.items()}

    def note(self, config: Any, name: str, text: str) -> None:
        """Write something down beside the values, for the next reader."""
        self._get_client(config.online_store).hset(f"endcap:notes:{config.project}", name, text)


def _timestamp(event: datetime) -> tuple[bytes, bytes, bytes]:
    """A moment as words of a command: seconds, nanoseconds, and as Feast stores it."""
    passed = event - ZERO
    seconds, nanos = passed.days * 86_400 + passed.seconds, passed.microseconds * 1000
    stored = Timestamp(seconds=seconds, nanos=nanos).SerializeToString()
    return packed(b"%d" % seconds), packed(b"%d" % nanos), packed(stored)


Groups = dict[tuple[str, ...], tuple[tuple[tuple[int, int], ...], list[int], int]]
"""By join keys: where in an answer each view's features are, which of the views asked for they are, how many keys."""


def _commands(project: bytes, asked: Sequence[tuple[View, Sequence[bytes]]]) -> tuple[Groups, list[bytes]]:
    """One packed command for each entity; views with the same join keys are asked together."""
    by_keys: dict[tuple[str, ...], list[int]] = {}
    for n, (view, _) in enumerate(asked):
        by_keys.setdefault(view.keys, []).append(n)
    groups: Groups = {}
    commands: list[bytes] = []
    for keys, places in by_keys.items():
        before, after, spans = _reading(tuple((asked[n][0].name, asked[n][0].names) for n in places))
        entities = asked[places[0]][1]
        groups[keys] = (spans, places, len(entities))
        extra = len(project)
        commands += [b"%b$%d\r\n%b%b\r\n%b" % (before, len(key) + extra, key, project, after) for key in entities]
    return groups, commands


def _taken_apart(asked: Sequence[Any], groups: Groups, answers: Sequence[Sequence[bytes | None]]) -> list[list[Row]]:
    """The answers by view and entity."""
    found: list[list[Row]] = [[] for _ in asked]
    first = 0
    for spans, places, count in groups.values():
        some = answers[first : first + count]
        first += count
        for place, (start, stop) in zip(places, spans, strict=True):
            found[place] = [
                (_moment(moment), answer[start:stop]) if (moment := answer[stop]) else (None, ()) for answer in some
            ]
    return found


def _parts(things: Iterator[Any], size: int) -> Iterator[list[Any]]:
    """Lists of at most `size`."""
    part = []
    for each in things:
        part.append(each)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part
