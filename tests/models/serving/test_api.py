"""The API over the real engines: answers, errors, limits, what is logged and what is not."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.feature_store import MODELS, table_of

VISITOR, STRANGER = "household-42", "household-nobody"
Log = Callable[[], list[dict[str, Any]]]


def wrong(answer: Any, status: int) -> dict[str, str]:
    """An error as every error is: what, where, do; the status; no traceback."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert {"what", "where", "do"} <= set(body) and body["what"]
    assert "Traceback" not in answer.text
    return dict(body)


def test_search_gives_items_with_reasons_a_receipt_and_logs_what_was_shown(client: TestClient, log: Log) -> None:
    answer = client.get("/search", params={"q": "frozen pizza", "k": 2, "visitor": VISITOR}).json()
    assert [item["id"] for item in answer["items"]] == ["i01", "i02"]
    first = answer["items"][0]
    assert (first["title"], first["brand"], first["price"], first["position"]) == (
        "Frozen pizza margherita",
        "Nonna",
        4.99,
        1,
    )
    assert first["why"] == "matches the words 'frozen pizza'; similar meaning"
    assert answer["bundle"] == {"name": "search", "version": 1} and answer["took_ms"] > 0
    shown = log()
    assert len(shown) == 1 and shown[0]["type"] == "ranking" and shown[0]["event_id"] == answer["ranking_id"]
    assert shown[0]["visitor_id"] == VISITOR and shown[0]["query"] == "frozen pizza"
    assert [(i["item_id"], i["position"], i["propensity"]) for i in shown[0]["items"]] == [
        ("i01", 1, 1.0),
        ("i02", 2, 1.0),
    ]


def test_search_without_a_visitor_is_answered_and_not_logged(client: TestClient, log: Log) -> None:
    assert client.get("/search", params={"q": "milk"}).json()["items"][0]["id"] == "i03"
    assert log() == []


def test_chinese_words_are_found_inside_longer_ones(client: TestClient) -> None:
    first = client.get("/search", params={"q": "耳机", "k": 1}).json()["items"][0]
    assert first["id"] == "i06" and "耳机" in first["why"]


def test_recommendations_come_from_the_history_with_its_counts_and_days(client: TestClient) -> None:
    answer = client.get("/recommend", params={"visitor": VISITOR, "k": 4}).json()
    assert answer["known"] is True and answer["as_of"].startswith("2017-12-31T23:59:59")
    assert [(item["id"], item["why"]) for item in answer["items"][:3]] == [
        ("i03", "bought 4 times, last 9 days ago"),
        ("i07", "bought twice, last 20 days ago"),
        ("i05", "bought once, 2 days ago"),
    ]


def test_a_stranger_gets_what_is_popular_and_is_told_so(client: TestClient) -> None:
    answer = client.get("/recommend", params={"visitor": "household-nobody", "k": 3}).json()
    assert answer["known"] is False and len(answer["items"]) == 3
    assert all("nothing is known of this visitor" in item["why"] for item in answer["items"])


def test_features_come_in_order_with_event_times_and_unknown_is_null(client: TestClient) -> None:
    asked = {"visitor": [VISITOR, "nobody"], "item": "i03", "query": ["  MILK ", "unheard of"]}
    found = client.post("/features", json=asked).json()
    assert [each["known"] for each in found["visitor"]] == [True, False]
    assert found["visitor"][0]["values"]["items"] == ["i03", "i05", "i07"]
    assert found["visitor"][0]["event_times"]["items"].startswith("2017-12-31T23:59:59")
    assert set(found["visitor"][1]["values"]) == set(found["visitor"][0]["values"])
    assert found["item"][0]["values"]["purchases_28d"] == 2
    assert [each["values"]["searches_28d"] for each in found["query"]] == [12, None]


@pytest.mark.parametrize("body", [{}, [], "x", 3, None, {"visitors": "a"}, {"item": [1]}, {"item": [""]},
                                  {"item": {"a": 1}}, {"item": ["a"] * 101}, {"query": "x" * 1001},
                                  {"item": "\ud800"}, {"query": "a\0b"}])  # fmt: skip
def test_a_look_up_that_makes_no_sense_is_422(client: TestClient, body: Any) -> None:
    sent = client.post("/features", content=json.dumps(body), headers={"content-type": "application/json"})
    wrong(sent, 422)


@pytest.mark.parametrize(
    "way", ["/search?q=milk", "/recommend?visitor=a", "/receipts/x", "/openapi.json", "/no/such/path"]
)
@pytest.mark.parametrize("headers", [{}, {"x-api-key": "wrong"}, {"authorization": "Bearer "}, {"x-api-key": "é"}])
def test_without_the_key_there_is_401_and_nothing_else(
    shop: str, client: TestClient, way: str, headers: dict[str, str]
) -> None:
    encoded = {name: value.encode() for name, value in headers.items()}
    client.headers.pop("x-api-key")
    assert wrong(client.get(way, headers=encoded), 401)["where"] == "header X-API-Key"  # type: ignore[arg-type]


def test_the_key_may_come_as_bearer(client: TestClient) -> None:
    key = client.headers.pop("x-api-key")
    assert client.get("/search?q=milk", headers={"authorization": f"Bearer {key}"}).status_code == 200


@pytest.mark.parametrize(("path", "where"), [
    ("/search", "q"), ("/search?q=", "q"), ("/search?q=%20%20", "q"), ("/search?q=" + "x" * 10_240, "q"),
    ("/search?q=a&k=0", "k"), ("/search?q=a&k=101", "k"), ("/search?q=a&k=-1", "k"), ("/search?q=a&k=ten", "query k"),
    ("/search?q=a&visitor=", "visitor"), ("/recommend", "visitor"), ("/recommend?visitor=" + "x" * 201, "visitor"),
    ("/recommend?visitor=%00", "visitor"), ("/recommend?visitor=a&k=0", "k"),
])  # fmt: skip
def test_a_wrong_parameter_is_400_and_names_it(client: TestClient, path: str, where: str) -> None:
    assert wrong(client.get(path), 400)["where"] == where


def test_unknown_paths_methods_and_receipts(client: TestClient) -> None:
    wrong(client.get("/nothing"), 404)
    wrong(client.post("/search?q=a"), 405)
    for receipt in (
        "x",
        "2026-01-01-0-0123456789abcdef",
        "../../keys/api.key",
        "2026-01-01-" + "f" * 12 + "-0123456789abcdef",
    ):
        wrong(client.get(f"/receipts/{receipt}"), 404)


def test_a_body_that_is_too_large_or_no_json_is_refused(client: TestClient) -> None:
    wrong(client.post("/events", content=b"x" * (256 * 1024 + 1)), 413)
    wrong(client.post("/events", content=b"{not json", headers={"content-type": "application/json"}), 422)
    wrong(client.post("/events", content=b"[" * 100_000, headers={"content-type": "application/json"}), 400)


def test_who_was_erased_is_answered_as_nobody_and_nothing_they_do_is_kept(
    shop: str, client: TestClient, log: Log, home: Path
) -> None:
    from jobs import tombstones
    from jobs.pseudonyms import load_key, pseudonym
    from jobs.warehouse import warehouse

    other = "household-43"
    asked = {"params": {"visitor": VISITOR, "k": 3}}
    assert client.get("/recommend", **asked).json()["known"] is True
    written = log()
    assert [row["visitor_id"] for row in written] == [VISITOR]
    receipts = home / shop / "receipts"
    before = sum(path.read_text().count(pseudonym(load_key(shop), VISITOR)) for path in receipts.glob("*.jsonl"))
    assert before > 0
    tombstones.bury(warehouse(shop), [VISITOR], 1)  # the API runs on

    answer = client.get("/recommend", **asked).json()
    stranger = client.get("/recommend", params={"visitor": other, "k": 3}).json()
    assert answer["known"] is False and [i["id"] for i in answer["items"]] == [i["id"] for i in stranger["items"]]
    assert client.get("/search", params={"q": "pizza", "visitor": VISITOR}).json()["items"]
    events = [
        {"kind": "click", "visitor_id": who, "item_id": "i03", "event_id": f"e-{who}"} for who in (VISITOR, other)
    ]
    assert client.post("/events", json={"events": events}).json() == {"received": 2, "new": 1, "known": 0}
    assert client.post("/events", json=events[0]).json() == {"received": 1, "new": 0, "known": 0}
    assert client.post("/features", json={"visitor": VISITOR}).json()["visitor"][0]["known"] is False
    assert [row["visitor_id"] for row in log()] == [VISITOR, other, other]
    after = sum(path.read_text().count(pseudonym(load_key(shop), VISITOR)) for path in receipts.glob("*.jsonl"))
    assert after == before


def test_where_the_erased_cannot_be_told_from_others_no_visitor_is_answered_or_written_down(
    shop: str, client: TestClient, log: Log
) -> None:
    from jobs import tombstones
    from jobs.warehouse import warehouse

    tombstones.bury(warehouse(shop), ["somebody"], 1)
    tombstones.key_file(shop).unlink()
    assert "key of the tombstones" in wrong(client.get("/recommend", params={"visitor": VISITOR}), 503)["what"]
    wrong(client.post("/events", json=CLICK), 503)
    assert client.get("/search?q=milk").json()["items"] and log() == []


CLICK = {"kind": "click", "visitor_id": VISITOR, "item_id": "i03", "event_id": "e-1", "ranking_id": "r-1"}


def test_an_event_is_written_once_however_often_it_is_sent(client: TestClient, log: Log) -> None:
    assert client.post("/events", json=CLICK).json() == {"received": 1, "new": 1, "known": 0}
    assert client.post("/events", json=CLICK).json() == {"received": 1, "new": 0, "known": 1}
    rows = log()
    assert len(rows) == 1 and {**CLICK, "type": "interaction", "known_time": rows[0]["known_time"]} == rows[0]


def test_an_event_is_seen_in_a_look_up_and_changes_the_next_recommendation(
    client: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody of whom nothing is known puts things into the cart, one after another."""
    asked, look_up = {"visitor": STRANGER, "k": 3}, {"service": "session", "entities": [{"visitor": STRANGER}]}
    before = client.get("/recommend", params=asked).json()
    assert not before["known"] and {"i02", "i04", "i06"}.isdisjoint(item["id"] for item in before["items"])
    took = []
    for n, item in enumerate(["i02", "i04", "i06"]):
        began = time.perf_counter()
        sent = {"kind": "cart", "visitor_id": STRANGER, "item_id": item, "event_id": f"now-{n}"}
        assert client.post("/events", json=sent).json()["new"] == 1
        (looked,) = client.post("/features", json=look_up).json()["results"]
        seen = time.perf_counter()
        answer = client.get("/recommend", params=asked).json()
        took.append((seen - began, time.perf_counter() - began))
        assert item in looked["values"]["session_items"] and looked["states"]["session_items"] == "present"
        shown = {each["id"]: each["why"] for each in answer["items"]}
        assert shown[item] == "put in the cart just now" and answer["known"]
    receipt = client.get(f"/receipts/{answer['receipt_id']}").json()
    assert receipt["features"]["session"]["values"]["session_kinds"] == ["cart"] * 3
    told, answered = (min(times) * 1000 for times in zip(*took, strict=True))
    with capsys.disabled():
        print(f"\nan event is seen by look-ups after {told:.0f} ms, in a recommendation after {answered:.0f} ms")
    assert answered < 1000


def test_an_event_of_long_ago_is_kept_and_enters_no_session(client: TestClient, log: Log) -> None:
    client.get("/recommend", params={"visitor": STRANGER})
    late = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    client.post("/events", json={"kind": "cart", "visitor_id": STRANGER, "item_id": "i02", "event_time": late})
    assert log()[-1]["item_id"] == "i02"
    assert not client.get("/recommend", params={"visitor": STRANGER}).json()["known"]


def test_a_feature_store_that_fails_loses_a_session_and_no_event(
    client: TestClient, log: Log, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client.get("/recommend", params={"visitor": STRANGER})

    def fails(*_: Any, **__: Any) -> None:
        raise OSError(f"no room for {STRANGER}")

    monkeypatch.setattr("jobs.features.push", fails)
    assert client.post("/events", json={**CLICK, "visitor_id": STRANGER}).json()["new"] == 1
    assert log()[-1]["visitor_id"] == STRANGER
    told = capsys.readouterr().err
    assert "a session was not renewed (OSError)" in told and STRANGER not in told


def test_the_same_id_with_another_content_is_409_and_nothing_is_written(client: TestClient, log: Log) -> None:
    client.post("/events", json=CLICK)
    fresh = {**CLICK, "event_id": "e-2"}
    wrong(client.post("/events", json={"events": [fresh, {**CLICK, "item_id": "i05"}]}), 409)
    assert [row["event_id"] for row in log()] == ["e-1"]


@pytest.mark.parametrize("event", [
    {}, [], 7, "x", {**CLICK, "kind": "klick"}, {**CLICK, "visitor_id": ""}, {**CLICK, "item_id": None},
    {**CLICK, "extra": 1}, {**CLICK, "event_time": "yesterday"}, {**CLICK, "event_time": "2999-01-01T00:00:00Z"},
    {**CLICK, "visitor_id": "\ud800"},
    {**CLICK, "kind": "dwell", "dwell_seconds": float("nan")}, {"events": []}, {"events": [CLICK] * 101},
    {"events": [CLICK, 3]},
])  # fmt: skip
def test_an_event_that_is_refused_leaves_no_trace(client: TestClient, log: Log, event: Any) -> None:
    wrong(client.post("/events", content=json.dumps(event), headers={"content-type": "application/json"}), 422)
    assert log() == []


def test_a_receipt_traces_scores_to_raw_files_and_holds_no_text_and_no_id(client: TestClient, home: Path) -> None:
    for path in (f"/search?q=frozen%20pizza&visitor={VISITOR}", f"/recommend?visitor={VISITOR}"):
        answer = client.get(path).json()
        receipt = client.get(f"/receipts/{answer['receipt_id']}?trace=true").json()
        assert receipt["ranking_id"] == answer["ranking_id"]
        assert [each["item_id"] for each in receipt["ranking"]] == [item["id"] for item in answer["items"]]
        assert [each["score"] for each in receipt["ranking"]] == [item["score"] for item in answer["items"]]
        assert receipt["bundle"]["found"] and len(receipt["bundle"]["sha256"]) == 64
        assert receipt["visitor"].startswith("v1_")
        assert {file["file"]: file["sha256"] for file in receipt["trace"]["files"]} == {
            "items.csv": "a" * 64, "sales-2017.parquet": "b" * 64}  # fmt: skip
        assert receipt["trace"]["missing"] == [] and receipt["trace"]["whole"]
    assert receipt["features"]["visitor"]["values"]["counts"] == [4, 1, 2]
    assert any(name.startswith("stats/visitor_stats/2017-12-31@") for name in receipt["data"])
    named = {name.split("/")[1] for name in receipt["data"] if name.startswith("stats/")}
    assert named == {table_of(view) for view in MODELS["recommender_v1"]}
    kept = "".join(file.read_text() for file in (home / "corner" / "receipts").glob("*.jsonl"))
    assert VISITOR not in kept and "pizza" not in kept and "milk" not in kept.lower()


def test_health_needs_no_key_and_says_what_serves(client: TestClient) -> None:
    client.headers.pop("x-api-key")
    health = client.get("/health")
    assert health.status_code == 200
    state = health.json()
    assert state["serving"] == ["recommend", "search"] and state["champions"]["search"]["version"] == 1
    assert state["champions"]["search"]["index"]["items"].startswith("safe/items/whole@")
    assert state["as_of"].startswith("2017-12-31") and state["data_age_days"] > 3000


def test_a_shop_without_a_champion_says_503_and_the_command(home: Path, put: Callable[..., Any]) -> None:
    from models.serving.app import create_app
    from models.serving.keys import load_or_create

    put("empty", "safe", "items", [{"item_id": "a", "title": "A"}])
    with TestClient(create_app("empty"), headers={"X-API-Key": load_or_create("empty")}) as client:
        for path, name in (("/search?q=a", "search"), ("/recommend?visitor=a", "recommend")):
            assert f"python -m models baseline {name} --shop empty" in wrong(client.get(path), 503)["do"]
        assert "nothing is promoted" in wrong(client.get("/health"), 503)["what"]


def test_a_shop_that_there_is_not_is_a_usage_with_a_suggestion(shop: str) -> None:
    from jobs.console import Usage
    from models.serving.app import create_app

    with pytest.raises(Usage, match="did you mean 'corner'"):
        create_app("corne")


@pytest.fixture(scope="module")
def lasting(built: Path) -> Iterator[TestClient]:
    """One client for many examples; it writes receipts only."""
    from models.serving.app import create_app
    from models.serving.keys import load_or_create

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENDCAP_HOME", str(built))
        with TestClient(create_app("corner"), headers={"X-API-Key": load_or_create("corner")}) as client:
            yield client


ANY_TEXT = st.one_of(
    st.text(max_size=80), st.text(alphabet="()[]{}\"'*:+-~^\\/&|!?<>=%\t\n\0 ａ耳机é\u202e", max_size=30)
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=ANY_TEXT, k=st.one_of(st.integers(-2, 120), st.text(max_size=5)))
def test_no_query_makes_the_api_fail(lasting: TestClient, query: str, k: int | str) -> None:
    answer = lasting.get("/search", params={"q": query, "k": k})
    assert answer.status_code in (200, 400), (query, k, answer.text)
    if answer.status_code == 200:
        assert len(answer.json()["items"]) <= int(k)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=60), visitor=st.text(max_size=30))
def test_no_bytes_in_the_address_or_the_body_make_it_fail(lasting: TestClient, raw: bytes, visitor: str) -> None:
    escaped = "".join(f"%{byte:02x}" for byte in raw)
    assert lasting.get(f"/search?q={escaped}").status_code in (200, 400)
    assert lasting.get("/recommend", params={"visitor": visitor}).status_code in (200, 400)
    for path in ("/features", "/events"):
        assert lasting.post(path, content=raw, headers={"content-type": "application/json"}).status_code in (400, 422)


def test_a_fault_of_ours_is_one_line_without_its_words(
    client: TestClient, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError(f"secret words of {VISITOR}")

    monkeypatch.setattr(client.app.state.api.answering, "search", broken)  # type: ignore[attr-defined]
    body = wrong(client.get("/search", params={"q": "secret words"}), 500)
    told = capsys.readouterr()
    assert "RuntimeError at test_api.py:" in told.err
    for words in (told.err, told.out, json.dumps(body)):
        assert "secret" not in words and VISITOR not in words


def test_a_full_disk_refuses_the_event_and_leaves_no_half_line(
    client: TestClient, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    client.post("/events", json=CLICK)
    file = next((home / "corner" / "feedback").glob("*.jsonl"))
    before, write = file.read_bytes(), os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[: len(data) // 2]))
    wrong(client.post("/events", json={**CLICK, "event_id": "e-9"}), 503)
    monkeypatch.undo()
    assert file.read_bytes() == before


def test_the_page_is_open_strict_and_whole(client: TestClient) -> None:
    client.headers.pop("x-api-key")
    page = client.get("/")
    assert page.status_code == 200 and "text/html" in page.headers["content-type"]
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy
    assert "http://" not in page.text and "https://" not in page.text and " on" + "click" not in page.text
    assert "style=" not in page.text and "<style" not in page.text
    for path in ("/page.js", "/page.css", "/icon.svg"):
        assert client.get(path).status_code == 200
    script = client.get("/page.js").text
    assert "innerHTML" not in script and "eval(" not in script and "document.write" not in script


def test_a_newer_promotion_is_taken_up_while_requests_run_and_none_fails(
    client: TestClient, shop: str, home: Path, new_search: Callable[..., Any]
) -> None:
    from models.promotions import append

    champions = client.app.state.api.champions  # type: ignore[attr-defined]
    versions: list[int] = []
    faults: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            answer = client.get("/search?q=milk&k=1")
            if answer.status_code != 200:
                faults.append(answer.text)
            else:
                versions.append(answer.json()["bundle"]["version"])

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        newer = new_search(shop, 2, [], weight=2.0)
        while not versions and not faults:
            time.sleep(0.01)
        append(shop, newer, "promote")
        champions.refresh()
        until = time.monotonic() + 30
        while (not versions or versions[-1] != 2) and not faults and time.monotonic() < until:
            time.sleep(0.01)
    finally:
        stop.set()
        asking.join()
    assert faults == [] and versions == sorted(versions) and versions[0] == 1 and versions[-1] == 2

    (home / shop / "promotions" / "search" / "000002.json").unlink()
    champions.refresh()
    assert client.get("/search?q=milk&k=1").json()["bundle"]["version"] == 2, "an earlier record is not gone back to"
    assert "not to be found" in client.get("/health").json()["champions"]["search"]["newer"]


def test_a_promotion_that_cannot_be_opened_leaves_the_champion_serving(
    client: TestClient, shop: str, home: Path, new_search: Callable[..., Any]
) -> None:
    from models.promotions import append

    newer = new_search(shop, 2, [])
    append(shop, newer, "promote")
    (home / shop / "indexes" / "search" / "2.json").unlink()
    client.app.state.api.champions.refresh()  # type: ignore[attr-defined]
    assert client.get("/search?q=milk&k=1").json()["bundle"]["version"] == 1
    assert "no index yet" in client.get("/health").json()["champions"]["search"]["newer"]
