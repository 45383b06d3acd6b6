"""`/features`: one service or several kinds, by the shop's own ids, with the rights that the key has."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

VISITOR = "household-42"


def wrong(answer: Any, status: int, *words: str) -> dict[str, str]:
    """An error: its status, what, where and what to do, and these words in it."""
    body = answer.json()
    assert answer.status_code == status and set(body) == {"what", "where", "do"}, body
    assert all(word in f"{body['what']} {body['where']} {body['do']}" for word in words), body
    return dict(body)


@pytest.fixture
def catalogue(shop: str, client: TestClient) -> dict[str, str]:
    """The headers of who may not ask about visitors."""
    from models.serving.keys import key_path, load_or_create

    key = load_or_create(shop, "catalogue")
    assert key_path(shop, "catalogue").stat().st_mode & 0o777 == 0o600
    return {"X-API-Key": key}


def test_one_service_is_asked_by_its_own_keys(client: TestClient) -> None:
    entities = [{"visitor": VISITOR}, {"visitor": "nobody"}]
    asked = {"service": "recommender", "entities": entities, "features": ["spend_28d", "items"]}
    found = client.post("/features", json=asked).json()
    assert found["service"] == "recommender"
    known, nobody = found["results"]
    assert known["values"] == {"items": ["i03", "i05", "i07"], "spend_28d": 21.5} and known["known"] is True
    assert known["states"] == {"items": "present", "spend_28d": "present"} and known["stale"] == []
    assert known["event_times"]["spend_28d"] == "2017-12-31T23:59:59.999999+00:00"
    assert nobody["values"] == {"items": None, "spend_28d": None} and nobody["known"] is False
    assert nobody["states"] == {"items": "absent", "spend_28d": "absent"}
    assert VISITOR not in client.post("/features", json=asked).text
    empty = client.post("/features", json={"service": "items", "entities": []})
    assert (empty.status_code, empty.json()["results"]) == (200, [])


def test_a_query_is_normalised_and_a_few_may_be_asked_by_words_of_the_path(client: TestClient) -> None:
    one = client.post("/features", json={"service": "queries", "entities": [{"query": "  MILK "}]}).json()
    assert one["results"][0]["values"]["searches_28d"] == 12
    found = client.get("/features", params=[("item", "i03"), ("item", "i04"), ("query", "milk")]).json()
    assert [each["values"]["purchases_28d"] for each in found["item"]] == [2, 3]
    assert found["query"][0]["values"]["searches_28d"] == 12
    wrong(client.get("/features"), 422, "names no entity")
    wrong(client.get("/features?items=a"), 422, "names no entity")


def test_what_is_a_visitors_needs_the_right_to_it(client: TestClient, catalogue: dict[str, str]) -> None:
    assert client.get("/search", params={"q": "milk"}, headers=catalogue).status_code == 200
    assert client.post("/features", json={"item": "i03"}, headers=catalogue).status_code == 200
    assert client.get("/features?query=milk", headers=catalogue).status_code == 200
    personal = {"service": "recommender", "entities": [{"visitor": VISITOR}]}
    for answer in (
        client.post("/features", json=personal, headers=catalogue),
        client.post("/features", json={"visitor": VISITOR, "item": "i03"}, headers=catalogue),
        client.get(f"/features?visitor={VISITOR}", headers=catalogue),
        client.get(f"/recommend?visitor={VISITOR}", headers=catalogue),
        client.get(f"/search?q=milk&visitor={VISITOR}", headers=catalogue),
        client.post("/events", json={}, headers=catalogue),
        client.get("/receipts/x", headers=catalogue),
        client.get("/metrics", headers=catalogue),
    ):
        told = wrong(answer, 403, "may not ask about visitors", "api.key")
        assert VISITOR not in str(told)


ASKED: list[tuple[Any, str]] = [
    ({"service": "item", "entities": []}, "did you mean 'items'?"),
    ({"service": ["items"], "entities": []}, "no such service"),
    ({"service": "items", "entities": {}}, "no list of objects"),
    ({"service": "items", "entities": ["i03"]}, "no list of objects"),
    ({"service": "items", "entities": [{"visitor": "a"}]}, "or ask the service 'recommender'"),
    ({"service": "items", "entities": [{"item_id": 3}]}, "no text"),
    ({"service": "items", "entities": [{"item_id": ""}]}, "empty"),
    ({"service": "items", "entities": [{"item_id": "a\0"}]}, "no text"),
    ({"service": "items", "entities": [{"item_id": "a"}] * 101}, "at most 100"),
    ({"service": "items", "entities": [{"item_id": "a"}], "features": ["prise"]}, "did you mean 'price'?"),
    ({"service": "items", "entities": [{"item_id": "a"}], "features": "price"}, "no list of names"),
    ({"service": "items", "entities": [], "now": "2017-01-01"}, "not known"),
]


@pytest.mark.parametrize(("body", "word"), ASKED, ids=[word for _, word in ASKED])
def test_a_look_up_that_makes_no_sense_says_why(client: TestClient, body: Any, word: str) -> None:
    wrong(client.post("/features", json=body), 422, word)


def test_a_hundred_thousand_in_one_request_are_refused(client: TestClient) -> None:
    body = {"service": "items", "entities": [{"item_id": "a"}] * 100_000}
    wrong(client.post("/features", json=body), 413, "too large")


def test_a_store_that_is_gone_is_503_and_says_what_to_run(shop: str, client: TestClient) -> None:
    from jobs.feature_store import folder

    assert client.post("/features", json={"item": "i03"}).status_code == 200
    for path in folder(shop).glob("online.db*"):
        path.rename(path.with_name(f"away-{path.name}"))
    wrong(client.post("/features", json={"item": "i03"}), 503, "python -m jobs materialise --shop")
    for path in folder(shop).glob("away-*"):
        path.rename(path.with_name(path.name.removeprefix("away-")))
    assert client.post("/features", json={"item": "i03"}).status_code == 200


def test_look_ups_are_measured(client: TestClient) -> None:
    pytest.importorskip("prometheus_client")
    client.post("/features", json={"item": "i03"})
    told = client.get("/metrics")
    assert told.status_code == 200 and 'endcap_feature_rows_total{service="items"' in told.text
    assert "i03" not in told.text
