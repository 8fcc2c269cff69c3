"""Reports: one HTML file of a run, whatever tasks are called and however it ended."""

import pickle
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

import cloaca

HOSTILE = "</script></title><script>alert(1)</script>\"'&\x00\u202e" + "x" * 3000


class Seen(HTMLParser):
    """Which elements a page has, and its text."""

    def __init__(self, page):
        super().__init__()
        self.tags = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def branches(*, boom=False):
    with cloaca.WorkflowBuilder("branches") as builder:

        @cloaca.task()
        def load(context):
            context.set("log", ["start"])

        @cloaca.task(dependencies=["load"])
        def north(context):
            context.set("log", [*context.get("log"), "north"])

        @cloaca.task(dependencies=["load"])
        def south(context):
            context.set("log", [*context.get("log"), "south"])
            if boom:
                raise ValueError(HOSTILE)

    return builder


def report_of(result, tmp_path):
    result.save_report(tmp_path / "run.html")
    return (tmp_path / "run.html").read_text()


@pytest.fixture
def serial():
    with cloaca.DefaultRunner(executor="serial") as runner:
        yield runner


def test_a_report_tells_what_ran_and_how_values_were_merged(serial, tmp_path):
    page = report_of(serial.execute(branches()), tmp_path)
    seen = Seen(page)
    assert "branches: Completed" in seen.text
    assert {"load", "north", "south"} <= {*re.findall(r"<td>(\w+)</td>", page)}
    assert "How values were merged" in seen.text
    assert seen.tags.count("details") == 1


def test_a_report_has_no_scripts_and_fetches_nothing(serial, tmp_path):
    page = report_of(serial.execute(branches()), tmp_path)
    assert {"script", "link", "img", "iframe"}.isdisjoint(Seen(page).tags)
    assert "http" not in page.replace("http-equiv", "")


def test_failures_are_told_with_their_traceback_and_what_was_read(serial, tmp_path):
    seen = Seen(report_of(serial.execute(branches(boom=True)), tmp_path))
    assert "branches: Failed" in seen.text
    assert "It read 'log'." in seen.text
    assert "raise ValueError(HOSTILE)" in seen.text


def test_what_users_name_is_text_and_no_markup(serial, tmp_path):
    with cloaca.WorkflowBuilder(HOSTILE[:20]) as builder:

        @cloaca.task(id="<script>alert(2)</script>\"'")
        def fails(context):
            raise ValueError(HOSTILE)

    seen = Seen(report_of(serial.execute(builder), tmp_path))
    assert "script" not in seen.tags
    assert "<script>alert(2)</script>\"'" in seen.text


def test_a_report_is_small_however_many_items_ran(serial, tmp_path):
    with cloaca.WorkflowBuilder("items") as builder:

        @cloaca.task(for_each="numbers")
        def square(context, item):
            context.set("square", item**2)

    page = report_of(serial.execute(builder, {"numbers": [*range(5000)]}), tmp_path)
    assert len(page) < 1_000_000
    assert Seen(page).tags.count("rect") < 4000


def test_a_result_without_times_says_so(serial, tmp_path):
    with cloaca.WorkflowBuilder("nothing") as builder:

        @cloaca.task(for_each="numbers")
        def square(context, item):
            context.set("square", item**2)

    assert "No times are on record" in report_of(serial.execute(builder, {"numbers": []}), tmp_path)


def test_a_pickled_result_and_one_on_record_have_the_same_report(tmp_path):
    with cloaca.DefaultRunner(f"sqlite:///{tmp_path}/runs.db", executor="serial") as runner:
        result = runner.execute(branches(boom=True))
        page = report_of(result, tmp_path)
        assert report_of(pickle.loads(pickle.dumps(result)), tmp_path) == page
        assert "It read &#x27;log&#x27;" in report_of(runner.execution(result.execution_id).result, tmp_path)


def test_a_folder_is_no_file_for_a_report(serial, tmp_path):
    with pytest.raises(IsADirectoryError):
        serial.execute(branches()).save_report(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="CHROMIUM IS MISSING: reports are not opened in a browser")
def test_chromium_shows_a_report(serial, tmp_path):
    report_of(serial.execute(branches(boom=True)), tmp_path)
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += f" --disable-component-update --disable-sync --user-data-dir={tmp_path / 'profile'} --dump-dom"
    page = (Path(tmp_path) / "run.html").as_uri()
    shown = subprocess.run(["chromium", *flags.split(), page], capture_output=True, text=True, check=True, timeout=50)
    assert "branches: Failed" in Seen(shown.stdout).text
