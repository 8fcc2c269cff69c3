"""What a report takes: to write it, in bytes, and to open it in Chromium, where that is installed.

    python -m perf.report

A page counts as opened when it has been drawn. Written from a result that was pickled, as by another program.
"""

import pickle
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cloaca

_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
_DRAWN = "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()))"
_WIDTH = 40


def tasks(count: int) -> cloaca.WorkflowBuilder:
    """So many tasks in levels, each after two of the level before."""
    with cloaca.WorkflowBuilder(f"{count:,} tasks") as builder:
        for number in range(count):
            above = [f"task {one}" for one in (number - _WIDTH, number - _WIDTH + 1) if one >= 0]

            @cloaca.task(id=f"task {number}", dependencies=above)
            def step(context: cloaca.Context, number: int = number) -> None:
                context.set(f"result {number}", number)

    return builder


def items(count: int) -> cloaca.WorkflowBuilder:
    """One task for each of so many items."""
    with cloaca.WorkflowBuilder(f"{count:,} items") as builder:

        @cloaca.task()
        def load(context: cloaca.Context) -> None:
            context.set("numbers", [*range(count)])

        @cloaca.task(dependencies=[load], for_each="numbers")
        def double(context: cloaca.Context, number: int) -> None:
            context.set("doubled", 2 * number)

    return builder


def seconds_of(call: Callable[[], Any]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


@contextmanager
def chromium(profile: Path) -> Iterator[Callable[[Path], str]]:
    """What opens a page, and tells how long that took."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        yield lambda _: "chromium isn't installed"
        return
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = program
    for flag in (*_FLAGS.split(), f"--user-data-dir={profile}"):
        options.add_argument(flag)
    browser = Chrome(options=options, service=Service(driver))

    def opened(page: Path) -> str:
        def open_it() -> None:
            browser.get(page.as_uri())
            browser.execute_async_script(_DRAWN)

        return f"opened in {seconds_of(open_it):5.2f} s"

    try:
        yield opened
    finally:
        browser.quit()


def main() -> None:
    """Measure, and print a line for each."""
    with tempfile.TemporaryDirectory() as folder, chromium(Path(folder) / "profile") as opened:
        page = Path(folder) / "run.html"
        for builder in (tasks(15), tasks(1000), tasks(10_000), items(100_000)):
            with cloaca.DefaultRunner() as runner:
                result = pickle.loads(pickle.dumps(runner.execute(builder)))
            seconds = seconds_of(lambda result=result: result.save_report(page))
            size = page.stat().st_size / 1e6
            print(f"{result.workflow:>14}: written in {seconds:5.2f} s, {size:5.2f} MB, {opened(page)}")


if __name__ == "__main__":
    main()
