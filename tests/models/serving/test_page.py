"""The page in a real browser: the key, a search, a click that reaches the log, recommendations, what was known."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = Path("/usr/bin/chromium")
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


@pytest.fixture
def address(shop: str) -> Iterator[str]:
    """The API on a real port."""
    import uvicorn

    from models.serving.app import bind, create_app

    listener = bind("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(create_app(shop), log_level="error", access_log=False, ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    server.should_exit = True
    thread.join()
    listener.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium; skipped where there is none."""
    if not CHROMIUM.exists():
        pytest.skip(f"needs a browser at {CHROMIUM}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGS)
        yield opened
        opened.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_a_person_searches_adds_to_the_cart_and_sees_what_is_recommended_and_why(
    browser: Any, address: str, shop: str, log: Callable[[], list[dict[str, Any]]], width: int, scheme: Any
) -> None:
    from models.serving.keys import load_or_create

    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(30_000)
    faults: list[str] = []
    page.on("pageerror", lambda fault: faults.append(str(fault)))
    page.on("console", lambda message: faults.append(message.text) if "Content Security" in message.text else None)
    page.goto(address, wait_until="domcontentloaded")
    page.fill("#key", "not the key of this shop")
    page.click("#key-form button")
    page.fill("#visitor", "household-42")
    page.fill("#query", "<b>bold</b> 耳机")
    page.click("#search button")
    page.wait_for_selector("#ask-key[open] >> text=That key does not fit")
    page.fill("#key", load_or_create(shop))
    page.click("#key-form button")
    page.wait_for_selector("#results .item")

    titles = page.locator("#results h3").all_inner_texts()
    assert '<b>Bold</b> crisps & "dip"' in titles and "无线蓝牙耳机" in titles, (
        "words of the shop are text, never markup"
    )
    assert page.locator("#results b, #results script").count() == 0
    assert "耳机" in page.locator("#results .item[data-item=i06] .why").inner_text()
    assert page.locator("#results .item[data-item=i06] .price").inner_text() == "€199.00"

    page.click("#results .item[data-item=i06] .cart")
    page.wait_for_selector("#results .item[data-item=i06] .cart.done")
    carts = [row for row in log() if row.get("kind") == "cart"]
    shown = [row for row in log() if row["type"] == "ranking"]
    assert [(row["item_id"], row["visitor_id"], row["ranking_id"]) for row in carts] == [
        ("i06", "household-42", shown[0]["event_id"])]  # fmt: skip

    page.click("#recommend button")
    page.wait_for_selector("#known:not([hidden])")
    assert page.locator("#recommendations .why").first.inner_text() == "bought 4 times, last 9 days ago"
    page.click("#known summary")
    assert "i03: 4 ×, last 2017-12-22" in page.locator("#features").inner_text()
    page.click("#recommend-note button")
    page.wait_for_selector("#receipt[open] >> text=sales-2017.parquet")
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing hangs over at the side"
    assert faults == []
    context.close()
