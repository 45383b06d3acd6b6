"""The API of one shop: search, recommend, features, events, receipts, health, and its page.

One process: `python -m models serve --shop SHOP`. Several, behind a balancer or not: `ENDCAP_SHOP=SHOP
uvicorn --factory models.serving.app:factory --workers 4 --no-access-log`; they share the key, the feedback
log and the receipts, and each follows the promotions by itself.

Queries and visitor ids are written to the feedback log only (closed zone), never to the process's output.
"""

import argparse
import os
import secrets
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.responses import Response

from jobs.console import Problem, Usage, narrate, say, suggest
from jobs.events import check_event, normalised
from jobs.warehouse import code_version, warehouse
from models.serving.answering import PROPENSITY, SERVICES, Answer, Answering, look_up_all, plain
from models.serving.answering import told as looked_told
from models.serving.champions import Champions, Opener, known_until
from models.serving.edge import NOBODY, Edge
from models.serving.faults import Fault, told
from models.serving.feedback import Event, Feedback
from models.serving.guard import Guard, require
from models.serving.keys import RIGHTS, VISITORS, key_path, load_or_create
from models.serving.receipts import Receipts, trace, with_training_data

MOST_ITEMS = 100  # of one answer
LONGEST_QUERY = 1000  # characters
MOST_EVENTS = 100  # of one request
MOST_LOOKED_UP = 100  # entities of one request
LONGEST_WAIT = 30.0  # seconds that a caller waits for the feature store at the very start
PORTS_TRIED = 20
PAGE = {"/": "page.html", "/page.js": "page.js", "/page.css": "page.css", "/icon.svg": "icon.svg"}


class Api:
    """The end points of one shop, over what it opens at its start."""

    def __init__(self, shop: str, openers: Mapping[str, Opener] | None = None) -> None:
        warehouse(shop)  # a shop without a home is a slip of the hand; nothing is made for it
        self.shop = shop
        self.edge = Edge(shop)
        self.champions = Champions(shop, openers)
        self.receipts = Receipts(shop)
        self.feedback = Feedback(shop, event_name, self.edge.erased)
        self.answering = Answering(shop, self.champions, self.receipts)
        self.features, self.warm = "coming up", threading.Event()
        self.since = datetime.now(UTC)
        code_version()  # asks git once, so that no answer does

    def start(self) -> None:
        """Open the champions. The feature store (Feast imports for seconds) comes up beside; search need not wait."""
        threading.Thread(target=self._warm, name="features").start()  # never cut off in the middle
        self.champions.start()

    def stop(self) -> None:
        """End the watch; what was begun is waited for."""
        self.champions.stop()
        self.warm.wait(LONGEST_WAIT)

    def _warm(self) -> None:
        """Ask for nobody once. A shop without statistics (a catalogue only) needs no feature store."""
        began = time.monotonic()
        try:
            if known_until(self.shop) is None:
                self.features = "none: the shop has no statistics"
                return
            self.answering.look_up("recommender", [{"visitor": NOBODY}])
            self.answering.look_up("session", [{"visitor": NOBODY}])
            self.answering.look_up("items", [{"item_id": "nothing"}])
            self.features = "ready"
        except Problem as problem:
            self.features = f"not ready: {problem.what}"
        finally:
            self.warm.set()
            say(f"features: {self.features} ({time.monotonic() - began:.1f} s)")

    def _features_up(self) -> None:
        """Wait for the feature store; a `Fault` (503) if it takes longer than a caller may be kept."""
        if not self.warm.wait(LONGEST_WAIT):
            raise Fault(503, "the feature store is coming up", where="features", do="ask again in a few seconds")

    def search(
        self,
        request: Request,
        q: Annotated[str, Query(description="the words, in any language")] = "",
        k: Annotated[int, Query(description="how many items, 1 to 100")] = 10,
        visitor: Annotated[str | None, Query(description="the shop's own id of the visitor, if there is one")] = None,
    ) -> Response:
        """The items that answer a query, best first, each with the reason why."""
        query, most = checked_query(q), checked_k(k)
        if visitor is not None:
            require(request.scope, VISITORS)
        answer = self.answering.search(query, most, self.edge(visitor) if visitor is not None else None)
        return self._answered(answer, visitor, query)

    def recommend(
        self,
        visitor: Annotated[str, Query(description="the shop's own id of the visitor")] = "",
        k: Annotated[int, Query(description="how many items, 1 to 100")] = 10,
    ) -> Response:
        """The items for a visitor, best first, each with the reason why; what others buy if nothing is known."""
        pseudonym, most = self.edge(visitor), checked_k(k)
        self._features_up()
        answer = self.answering.recommend(pseudonym, most)
        return self._answered(answer, visitor, None)

    def _answered(self, answer: Answer, visitor: str | None, query: str | None) -> Response:
        """The answer; the ranking goes to the feedback log after it was sent, if it was made for somebody."""
        after = BackgroundTask(self._shown, answer, visitor, query) if visitor is not None and answer.items else None
        return JSONResponse(answer.told(), background=after)

    def _shown(self, answer: Answer, visitor: str, query: str | None) -> None:
        try:
            self.feedback.append([ranking_event(answer, visitor, query)])
        except Problem as problem:
            say(f"error: a ranking was shown and not written down: {problem.what}")

    def look_up(self, request: Request, asked: Annotated[Any, Body()]) -> Response:
        """Feature values with their event times, of visitors (the shop's own ids), items and queries.

        {"visitor": ID or [IDs], "item": ..., "query": ...} gives lists under the same names, in the same
        order: {"known", "values", "event_times", "states", "stale"}. What is not known or too old is null.

        {"service": NAME, "entities": [{KEY: ID, ...}, ...], "features": [NAMES]} asks one service, all features if none
        is named, and gives {"results": [...]}. What is a visitor's needs a key with that right.
        """
        if isinstance(asked, dict) and "service" in asked:
            return self._one_service(request, asked)
        return self._by_kind(request, checked_lookup(asked))

    def look_up_by_words(self, request: Request) -> Response:
        """The same for a few: /features?item=A&item=B&visitor=ID&query=WORDS."""
        given = request.query_params
        return self._by_kind(request, checked_lookup({name: given.getlist(name) for name in given}))

    def _by_kind(self, request: Request, wanted: dict[str, list[str]]) -> Response:
        if "visitor" in wanted:
            require(request.scope, VISITORS)
        self._features_up()
        pseudonyms = [self.edge(each) for each in wanted.get("visitor", [])]
        return JSONResponse(
            look_up_all(self.answering, {**wanted, **({"visitor": pseudonyms} if "visitor" in wanted else {})})
        )

    def _one_service(self, request: Request, asked: dict[str, Any]) -> Response:
        from jobs.features import KEYS

        service, entities, names = checked_service(asked)
        if "visitor" in KEYS[service]:
            require(request.scope, VISITORS)
        self._features_up()
        seen = [{key: self._known_as(key, value) for key, value in entity.items()} for entity in entities]
        try:
            looked = self.answering.look_up(service, seen, names)
        except Usage as usage:  # a feature that there is not; its name is the caller's, and not repeated
            raise Fault(422, f"'{service}' has no such feature", where="features", do=usage.do) from None
        return JSONResponse({"service": service, "results": looked_told(looked)})

    def _known_as(self, key: str, value: str) -> str:
        """An entity as the features know it: a visitor by pseudonym, a query normalised."""
        return self.edge(value) if key == "visitor" else normalised(value) if key == "query" else value

    def metrics(self) -> Response:
        """Counts and times of look-ups in this process, as Prometheus reads them."""
        from jobs.features import counted

        return Response(counted(), media_type="text/plain; version=0.0.4")

    def events(self, sent: Annotated[Any, Body()]) -> dict[str, Any]:
        """Write down what visitors were shown and did: one event, or {"events": [...]}; all or none.

        Safe to send again: an event whose id is known adds nothing. Events of visitors who were erased are received,
        and not kept: neither new nor known. What was done enters the visitor's session, and so the next recommendation;
        should the feature store not take it, the event is kept all the same.
        """
        events = checked_events(sent)
        new = self.feedback.append(events)
        self._touched(events)
        return {"received": len(events), "new": sum(new), "known": len(new) - sum(new)}

    def _touched(self, events: Sequence[Event]) -> None:
        """The events, into the sessions; of those known before, too: they may be sent again because this failed."""
        if not self.features.startswith("ready"):
            return  # coming up, or a shop without statistics: a session of minutes is no loss
        try:
            named = [(self.edge(event["visitor_id"]), event) for event in events]
            self.answering.touched([(who, event) for who, event in named if who != NOBODY])
        except Exception as fault:  # whatever a store or its lock says: the event is written down
            say(f"error: a session was not renewed ({type(fault).__name__})")

    def receipt(self, receipt_id: str, trace: bool = False) -> dict[str, Any]:
        """With what an answer was made; with `trace`, down to the raw files."""
        row = with_training_data(self.receipts.read(receipt_id))
        return {**row, "trace": follow(self.shop, row["data"])} if trace else row

    def health(self) -> Response:
        """What serves, since when, from which data; 200 if search or recommendations can be answered, else 503."""
        opened, reasons = self.champions.opened(), self.champions.reasons()
        state = {
            "shop": self.shop,
            "serving": sorted(opened),
            "champions": {
                name: champion_state(opened.get(name), reasons.get(name)) for name in ("search", "recommend")
            },
            "features": self.features,
            "as_of": plain(self.champions.as_of),
            "data_age_days": age_days(self.champions.as_of),
            "up_seconds": round((datetime.now(UTC) - self.since).total_seconds(), 1),
        }
        if opened:
            return JSONResponse(state)
        why = (
            "; ".join(f"{name}: {reason}" for name, reason in sorted(reasons.items()))
            or "the champions are being opened"
        )
        missing = {
            "what": f"nothing can be answered ({why})",
            "where": "champions",
            "do": f"run 'python -m models baseline search --shop {self.shop}' and the same for recommend",
        }
        return JSONResponse({**state, **missing}, status_code=503)


follow = trace  # the end point's parameter bears the same name


def champion_state(opened: Any, reason: str | None) -> dict[str, Any]:
    """One champion, for /health."""
    if opened is None:
        return {"ready": False, "why": reason or "it is being opened"}
    state = {
        "ready": True,
        "version": opened.bundle.version,
        "kind": opened.bundle.kind,
        "sequence": opened.sequence,
        "sha256": opened.bundle.sha256,
        "index": opened.index,
        "opened_at": plain(opened.opened_at),
    }
    return {**state, "newer": reason} if reason else state


def age_days(as_of: datetime | None) -> float | None:
    """Days since the moment the data are true at."""
    return None if as_of is None else round((datetime.now(UTC) - as_of).total_seconds() / 86400, 1)


def checked_query(query: str) -> str:
    """A query that can be answered, or a `Fault` (400) that does not repeat it."""
    if not query.strip():
        raise Fault(400, "the query is empty", where="q", do="send the words in q, such as /search?q=milk")
    if len(query) > LONGEST_QUERY:
        raise Fault(400, "the query is too long", where="q", do=f"send at most {LONGEST_QUERY:,} characters")
    return query


def checked_k(k: int) -> int:
    """How many items, or a `Fault` (400)."""
    if not 1 <= k <= MOST_ITEMS:
        raise Fault(400, f"k must be 1 to {MOST_ITEMS}", where="k", do=f"send a whole number from 1 to {MOST_ITEMS}")
    return k


def checked_lookup(asked: Any) -> dict[str, list[str]]:
    """The entities of a look-up by kind, or a `Fault` (422)."""
    kinds = tuple(SERVICES)
    mend = 'send {"visitor": ..., "item": ..., "query": ...}, each a text or a list of texts; at least one of them'
    if not isinstance(asked, dict) or not asked or any(kind not in kinds for kind in asked):
        raise Fault(422, "the body names no entity, or one that there is not", where="body", do=mend)
    wanted = {kind: list(ids) if isinstance(ids, list) else [ids] for kind, ids in asked.items()}
    if sum(map(len, wanted.values())) > MOST_LOOKED_UP:
        raise Fault(422, "too many entities in one request", where="body", do=f"send at most {MOST_LOOKED_UP}")
    for kind, ids in wanted.items():
        for each in ids:
            if not isinstance(each, str) or not each or len(each) > LONGEST_QUERY or not storable(each):
                raise Fault(422, f"an id of kind {kind} is no text, empty or too long", where=kind, do=mend)
    return wanted


def checked_service(asked: dict[str, Any]) -> tuple[str, list[dict[str, str]], list[str] | None]:
    """A service, entities of it and the features wanted (None: all), or a `Fault` (422)."""
    from jobs.features import KEYS

    service, entities, names = asked.get("service"), asked.get("entities"), asked.get("features")
    if set(asked) - {"service", "entities", "features"}:
        raise Fault(422, "the body holds a word that is not known", where="body", do='send "service", "entities" and, '
                    'if not all are wanted, "features"')  # fmt: skip
    if not isinstance(service, str) or service not in KEYS:
        raise Fault(422, "there is no such service", where="service", do=suggest(str(service), KEYS))
    wanted = ", ".join(f'"{key}": ID' for key in KEYS[service])
    mend = f"send entities as [{{{wanted}}}, ...]"
    if not isinstance(entities, list) or not all(isinstance(each, dict) for each in entities):
        raise Fault(422, "the entities are no list of objects", where="entities", do=mend)
    if len(entities) > MOST_LOOKED_UP:
        raise Fault(422, "too many entities in one request", where="entities", do=f"send at most {MOST_LOOKED_UP}")
    for each in entities:
        if each.keys() != set(KEYS[service]):
            others = [name for name, keys in KEYS.items() if each.keys() == set(keys)]
            raise Fault(422, f"an entity is not one of '{service}'", where="entities",
                        do=mend + (f", or ask the service '{others[0]}'" if others else ""))  # fmt: skip
        for key, value in each.items():
            if not isinstance(value, str) or not value or len(value) > LONGEST_QUERY or not storable(value):
                raise Fault(422, f"an id under '{key}' is no text, empty or too long", where="entities", do=mend)
    if names is not None and (not isinstance(names, list) or not all(isinstance(name, str) for name in names)):
        raise Fault(422, "the features are no list of names", where="features", do="send their names, or leave it out")
    return service, entities, names


def storable(text: str) -> bool:
    """Whether a text can be written as UTF-8 (half a surrogate pair cannot), and is none with a zero in it."""
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def checked_events(sent: Any) -> list[Event]:
    """The events of a request, each checked by `jobs.events`, or a `Fault` (422)."""
    events = sent["events"] if isinstance(sent, dict) and isinstance(sent.get("events"), list) else [sent]
    if not 1 <= len(events) <= MOST_EVENTS:
        raise Fault(422, f"a request holds 1 to {MOST_EVENTS} events", where="events")
    return [_checked_event(event, n, datetime.now(UTC)) for n, event in enumerate(events, start=1)]


def _checked_event(event: Any, n: int, now: datetime) -> Event:
    if not isinstance(event, dict):
        raise Fault(422, f"event {n} is no object", where=f"event {n}", do="send a JSON object")
    try:
        checked = check_event(event, now=now)
    except Problem as problem:
        raise Fault(422, problem.what, where=f"event {n}: {problem.where}", do=problem.do) from None
    return {
        "type": "interaction",
        "event_id": secrets.token_hex(16),
        **{name: plain(value) for name, value in checked.items()},
    }


def event_name(event: Event) -> str:
    """The id of an event, told apart by its type."""
    return f"{event['type']}:{event['event_id']}"


def ranking_event(answer: Answer, visitor: str, query: str | None) -> Event:
    """What was shown, for the feedback log: id and query as received."""
    items = [{"item_id": item["id"], "position": item["position"], "propensity": PROPENSITY} for item in answer.items]
    return {
        "type": "ranking",
        "event_id": answer.ranking_id,
        "event_time": plain(datetime.now(UTC)),
        "visitor_id": visitor,
        "surface": answer.surface,
        "query": query,
        "receipt_id": answer.receipt_id,
        "items": items,
    }


def create_app(shop: str, openers: Mapping[str, Opener] | None = None) -> FastAPI:
    """The API of `shop`. Makes its key if there is none; a `Usage` if the shop has no home."""
    api, keys = Api(shop, openers), {name: load_or_create(shop, name) for name in RIGHTS}

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        api.start()
        yield
        api.stop()

    app = FastAPI(
        title=f"Endcap: {shop}",
        version="1",
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    app.state.api = api
    for path, way, end_point in (
        ("/search", "GET", api.search),
        ("/recommend", "GET", api.recommend),
        ("/features", "POST", api.look_up),
        ("/features", "GET", api.look_up_by_words),
        ("/metrics", "GET", api.metrics),
        ("/events", "POST", api.events),
        ("/receipts/{receipt_id}", "GET", api.receipt),
        ("/health", "GET", api.health),
    ):
        app.add_api_route(path, end_point, methods=[way], response_model=None)
    for path, name in PAGE.items():
        app.add_api_route(path, _file(name), methods=["GET"], include_in_schema=False, response_model=None)
    app.add_exception_handler(RequestValidationError, _wrong_request)
    app.add_exception_handler(HTTPException, _no_such_thing)
    app.add_middleware(Guard, keys=keys)
    return app


def _file(name: str) -> Callable[[], Response]:
    path = Path(__file__).with_name(name)
    return lambda: FileResponse(path)


def _wrong_request(request: Request, fault: Exception) -> Response:
    """A parameter or body that cannot be read: where, never what it held."""
    assert isinstance(fault, RequestValidationError)
    place = [str(part) for part in fault.errors()[0]["loc"]]
    in_body = place[:1] == ["body"]
    body = {
        "what": "the body is no JSON" if in_body else f"{place[-1]} cannot be read",
        "where": " ".join(place[:2]),
        "do": "send a JSON object, as application/json" if in_body else "see /openapi.json for what it may be",
    }
    return JSONResponse(body, status_code=422 if in_body else 400)


def _no_such_thing(request: Request, fault: Exception) -> Response:
    """A path or method that there is not, or a body that cannot be parsed."""
    assert isinstance(fault, HTTPException)
    what, do = {
        404: ("there is nothing at this path", "see /openapi.json for what there is"),
        405: ("this path does not know this method", "see /openapi.json for what there is"),
    }.get(fault.status_code, ("the request cannot be read", "send a JSON object, as application/json"))
    return JSONResponse(told(Fault(fault.status_code, what, where="request", do=do)), status_code=fault.status_code)


def factory() -> FastAPI:
    """The API of the shop named by $ENDCAP_SHOP, for a server with several processes."""
    shop = os.environ.get("ENDCAP_SHOP")
    if not shop:
        raise Usage("no shop is named", where="$ENDCAP_SHOP", do="set it to the shop's name")
    return create_app(shop)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket at `port`, or at the next free one after it (said); a `Problem` if none of 20 is free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for tried in range(port, min(port + PORTS_TRIED, 65536)):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, tried))
            listener.listen(128)
        except OSError as fault:
            listener.close()
            if isinstance(fault, socket.gaierror) or fault.errno not in _TAKEN:
                raise Problem(
                    f"the address {host}:{tried} cannot be bound",
                    where="--host, --port",
                    do="choose another with --host or --port",
                ) from fault
            continue
        if tried != port and port:
            say(f"port {port} is taken; using {tried}")
        return listener
    raise Problem(f"no free port from {port} to {port + PORTS_TRIED - 1} on {host}", do="choose another with --port")


_TAKEN = {98, 48, 10048}  # EADDRINUSE of Linux, macOS, Windows


def serve(args: argparse.Namespace) -> int:
    """`python -m models serve`: binds, opens the champions, says where it answers. Ctrl-C or SIGTERM end it with 0."""
    import uvicorn

    began = time.monotonic()
    if not 0 <= args.port <= 65535:
        raise Usage(f"port {args.port} is no port", do="choose one from 1 to 65535, or 0 for any")
    app = create_app(args.shop)
    listener = bind(args.host, args.port)
    host, port = listener.getsockname()[:2]

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            with narrate(f"open the champions of {args.shop}"):
                await super().startup(sockets)
            if self.started:
                announce(args.shop, host, port, app.state.api.champions, time.monotonic() - began)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            await super().shutdown(sockets)
            self._captured_signals.clear()  # uvicorn would raise them again: an end that was asked for is not a failure

    config = uvicorn.Config(
        app,
        access_log=False,
        log_level="warning",
        server_header=False,
        date_header=True,
        timeout_keep_alive=20,
        timeout_graceful_shutdown=10,
        ws="none",
        lifespan="on",
    )
    with listener:
        server = Server(config)
        server.run(sockets=[listener])
    return 0 if server.started else 1


def announce(shop: str, host: str, port: int, champions: Champions, seconds: float) -> None:
    """The lines that a person reads: where it answers, what serves, where the key lies."""
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    serving: Sequence[str] = [f"{name} {each.bundle.version}" for name, each in sorted(champions.opened().items())]
    lines = [
        f"Endcap answers for '{shop}' at {address} ({seconds:.1f} s to start)",
        f"serving: {', '.join(serving) or 'nothing yet'}",
    ]
    lines += [f"not serving: {name}, {why}" for name, why in sorted(champions.reasons().items())]
    lines += [
        f"API key: {key_path(shop)}",
        f"next: curl -H \"X-API-Key: $(cat {key_path(shop)})\" '{address}search?q=milk'",
    ]
    print("\n".join(lines), flush=True)
