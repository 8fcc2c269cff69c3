"""Reports in a browser: they open in silence, and answer clicks, the pointer, the keyboard and a search.

Nothing here is told by time: each step waits for what it leads to, for as long as a busy machine may take.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Chrome, ChromeOptions, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

import cloaca

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1000,900"
)
PATIENCE = 60
HOSTILE = "<img src=x onerror=document.title='taken'>\"'&"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None,
        reason="CHROMIUM OR CHROMEDRIVER IS MISSING: reports are not opened in a browser",
    ),
]


def sales():
    with cloaca.WorkflowBuilder("sales reported") as builder:

        @cloaca.task()
        def load(context):
            context.set("rows", [*range(300)])

        @cloaca.task(dependencies=[load], for_each="rows")
        def clean(context, row):
            sum(range(2000))
            context.set("cleaned", row)

        @cloaca.task(id=HOSTILE, dependencies=[load])
        def fails(context):
            raise ValueError(f"{len(context.get('rows'))} {HOSTILE}")

        @cloaca.task(dependencies=[fails])
        def skipped(context):
            pass

        @cloaca.task(dependencies=[clean])
        def total(context):
            context.set("total", sum(context.get("cleaned")))

    return builder


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("report") / "run.html"
    with cloaca.DefaultRunner(executor="serial") as runner:
        runner.execute(sales()).save_report(path)
    return path.as_uri()


class Reader:
    """Somebody at a browser in which a page is open."""

    def __init__(self, browser: Chrome) -> None:
        self.browser = browser

    def until(self, holds: Callable[[], Any]) -> Any:
        """Wait until it holds, and return what it tells."""
        return WebDriverWait(self.browser, PATIENCE).until(lambda _: holds())

    def find(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def count(self, selector: str) -> int:
        return len(self.browser.find_elements(By.CSS_SELECTOR, selector))

    def press(self, *keys: str) -> None:
        ActionChains(self.browser).send_keys(*keys).perform()

    def focus(self, selector: str) -> None:
        self.browser.execute_script("arguments[0].focus()", self.find(selector))

    def details(self) -> str:
        """What is told of a mark, once there is anything."""
        return str(self.until(lambda: self.find("#details").is_displayed() and self.find("#details").text))

    def window(self) -> tuple[float, float]:
        """Which part of the time the first lane shows."""
        box = self.browser.execute_script("return arguments[0].viewBox.baseVal", self.find("#time svg"))
        return box["x"], box["width"]

    def told(self, level: str) -> list[dict[str, Any]]:
        return [json.loads(entry["message"])["message"] for entry in self.browser.get_log(level)]


@pytest.fixture
def reader(page: str, tmp_path: Path) -> Iterator[Reader]:
    options = ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = Chrome(options=options, service=Service(DRIVER))
    try:
        browser.set_page_load_timeout(PATIENCE)
        browser.get(page)
        yield Reader(browser)
    finally:
        browser.quit()


def test_a_page_opens_without_a_word_and_asks_nobody(reader: Reader, page: str) -> None:
    assert reader.browser.title == "sales reported"
    assert reader.browser.get_log("browser") == []
    events = [event["params"] for event in reader.told("performance") if event["method"] == "Network.requestWillBeSent"]
    assert [one["request"]["url"] for one in events if one["documentURL"] == page] == [page]


def test_a_click_on_a_node_or_a_task_shows_its_details(reader: Reader) -> None:
    reader.find("#workflow .failed text").click()
    told = reader.details()
    assert reader.count("#time .of-chosen") == reader.count("#time .of-chosen.failed") == 1
    assert HOSTILE in told
    assert "ValueError: 300" in told
    reader.find("#details button").click()
    reader.until(lambda: not reader.find("#details").is_displayed())
    assert reader.count(".of-chosen, .chosen") == 0
    reader.find("#time .task.failed").click()
    assert "keys read\nrows" in reader.details()


def test_the_pointer_is_told_what_it_is_on(reader: Reader) -> None:
    ActionChains(reader.browser).move_to_element(reader.find("#workflow .node text")).perform()
    reader.until(lambda: reader.find("#tip").is_displayed())
    assert reader.find("#tip").text.startswith("load, 1, completed")


def test_a_search_marks_and_lists_what_it_finds(reader: Reader) -> None:
    reader.press("/")
    reader.press("clean[12")
    reader.until(lambda: reader.find("#count").text == "11 found")  # [12] and [120] to [129]
    assert reader.count("#time .found") == 11
    assert reader.count("#workflow .found") == 1
    assert all(
        "clean[12" in row.text
        for row in reader.browser.find_elements(By.CSS_SELECTOR, ".tasks tr:not([hidden]) td:first-child")
        if row.is_displayed()
    )
    reader.find("#matches button").click()
    assert reader.details().startswith("clean[12")
    reader.find("#query").clear()
    reader.find("#query").send_keys("skipped")
    reader.until(lambda: reader.find("#count").text == "1 found")
    reader.press(Keys.ENTER)
    reader.until(lambda: "none of its dependencies ended well" in reader.find("#details").text)


def test_time_zooms_by_buttons_keys_and_the_wheel_and_moves(reader: Reader) -> None:
    whole = reader.window()
    assert reader.count("#time .near") == reader.count("#time [data-level]")
    reader.find('.tools[data-for="time"] [data-key="+"]').click()
    reader.until(lambda: reader.window() == (whole[1] / 4, whole[1] / 2))
    reader.focus("#time")
    reader.press("+")
    reader.until(lambda: reader.window()[1] == whole[1] / 4)
    reader.press(Keys.ARROW_LEFT)
    reader.until(lambda: reader.window()[0] < whole[1] * 3 / 8)
    tick = reader.find(".axis span").text
    box = reader.find("#time svg")
    wheel = {"bubbles": True, "cancelable": True, "deltaY": -2000}
    reader.browser.execute_script("arguments[0].dispatchEvent(new WheelEvent('wheel', arguments[1]))", box, wheel)
    reader.until(lambda: reader.window()[1] < whole[1] / 1000)
    assert reader.find(".axis span").text != tick
    assert reader.count("#time .near") == reader.count('#time [data-level="7"], #time [data-level="8"]')
    left = reader.window()[0]
    ActionChains(reader.browser).drag_and_drop_by_offset(box, -200, 0).perform()
    reader.until(lambda: reader.window()[0] > left)
    reader.press("0")
    reader.until(lambda: reader.window() == whole)


def test_the_graph_zooms(reader: Reader) -> None:
    width = reader.find("#workflow svg").size["width"]
    reader.focus("#workflow")
    reader.press("+")
    reader.until(lambda: reader.find("#workflow svg").size["width"] == 2 * width)
    reader.press("0")
    reader.until(lambda: reader.find("#workflow svg").size["width"] <= reader.find("#workflow").size["width"])


@pytest.mark.parametrize("picture", ["workflow", "time"])
def test_the_keyboard_goes_from_mark_to_mark(reader: Reader, picture: str) -> None:
    reader.focus(f"#{picture}")
    reader.press("n")
    first = reader.details()
    reader.press("n")
    reader.until(lambda: reader.details() != first)
    reader.press("p")
    reader.until(lambda: reader.details() == first)
    reader.press(Keys.ESCAPE)
    reader.until(lambda: not reader.find("#details").is_displayed())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_fits_where_there_is_little_room_and_is_dark_where_that_is_wanted(reader: Reader, scheme: str) -> None:
    narrow = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    reader.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", narrow)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    reader.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    assert reader.browser.execute_script("return document.documentElement.scrollWidth") <= 400
    ground = reader.browser.execute_script("return getComputedStyle(document.querySelector('#search')).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
