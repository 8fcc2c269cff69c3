"""Reports: one HTML file of a run, whatever tasks are called and however it ended."""

import pickle
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser

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


def test_a_report_fetches_nothing_and_runs_its_own_script_alone(serial, tmp_path):
    page = report_of(serial.execute(branches()), tmp_path)
    assert {"link", "img", "iframe"}.isdisjoint(Seen(page).tags)
    assert "http" not in page.replace("http-equiv", "")
    style, script = (re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL) for tag in ("style", "script"))
    hashes = [f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}" for text in (*style, *script)]
    allowed = (
        f"default-src 'none'; style-src '{hashes[0]}'; script-src '{hashes[1]}'; base-uri 'none'; form-action 'none'"
    )
    assert f'content="{allowed}"' in page
    assert len(hashes) == 2


def test_failures_are_told_with_their_traceback_and_what_was_read(serial, tmp_path):
    seen = Seen(report_of(serial.execute(branches(boom=True)), tmp_path))
    assert "branches: Failed" in seen.text
    assert "It read:\n  'log', set by 'load'" in seen.text
    assert "raise ValueError(HOSTILE)" in seen.text


def test_what_users_name_is_text_and_no_markup(serial, tmp_path):
    with cloaca.WorkflowBuilder(HOSTILE[:20]) as builder:

        @cloaca.task(id="<script>alert(2)</script>\"'")
        def fails(context):
            raise ValueError(HOSTILE)

    seen = Seen(report_of(serial.execute(builder), tmp_path))
    assert seen.tags.count("script") == 2
    assert "<script>alert(2)</script>\"'" in seen.text


def test_a_report_of_a_thousand_tasks_is_under_a_megabyte(serial, tmp_path):
    with cloaca.WorkflowBuilder("grid") as builder:
        for number in range(1000):
            above = [f"a task of some name {one}" for one in (number - 40, number - 39) if one >= 0]

            @cloaca.task(id=f"a task of some name {number}", dependencies=above)
            def step(context, number=number):
                context.set(f"key {number}", number)

    page = report_of(serial.execute(builder), tmp_path)
    assert len(page.encode()) < 1_000_000
    assert page.count('data-of="task"') == 1000
    assert 20 <= page.count('data-of="node"') <= 80


def test_a_report_stays_small_however_many_items_ran(serial, tmp_path):
    with cloaca.WorkflowBuilder("items") as builder:

        @cloaca.task(for_each="numbers")
        def square(context, item):
            context.set("square", item**2)

    page = report_of(serial.execute(builder, {"numbers": [*range(20_000)]}), tmp_path)
    assert page.count('data-of="task"') == 10_000
    assert "10,000 short ones aren't shown one by one" in page
    assert page.count('data-of="node"') == 1
    assert len(page) < 3_000_000


def test_a_try_before_the_last_one_is_told(serial, tmp_path):
    tries = tmp_path / "tries"
    with cloaca.WorkflowBuilder("again") as builder:

        @cloaca.task(retry_attempts=2, retry_delay_ms=1)
        def flaky(context):
            if not tries.exists():
                tries.touch()
                raise ValueError("not yet")

    page = report_of(serial.execute(builder), tmp_path)
    assert page.count('data-of="task"') == 2
    assert '"Retried"' in page
    assert "ValueError: not yet" in page


def test_what_was_taken_over_is_told_and_why_the_rest_ran(tmp_path):
    def flow(factor):
        with cloaca.WorkflowBuilder("reused") as builder:

            @cloaca.task()
            def load(context):
                context.set("rows", [1, 2])

            @cloaca.task(dependencies=[load])
            def total(context):
                context.set("total", factor * sum(context.get("rows")))

        return builder

    with cloaca.DefaultRunner(f"sqlite:///{tmp_path}/runs.db", executor="serial") as runner:
        first = runner.execute(flow(1))
        result = runner.execute(flow(2), reuse=True)
    page = report_of(result, tmp_path)
    assert 'class="node taken-over"' in page
    assert f"<td>{first.execution_id}</td><td>1</td>" in page
    assert f"<td>{result.tasks['total'].ran_because}</td><td>1</td>" in page.replace("&#x27;", "'")


def test_what_was_set_is_told_by_key(serial, tmp_path):
    page = report_of(serial.execute(branches()), tmp_path)
    assert re.search(r"<td>log</td><td>3</td><td>\d+ bytes</td><td>2</td>", page)


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
        pickled = report_of(pickle.loads(pickle.dumps(result)), tmp_path)
        assert pickled == re.sub(r"(task &#x27;south&#x27;) \([^)]+:\d+\)", r"\1", page, flags=re.IGNORECASE)
        assert "&#x27;log&#x27;, set by" in report_of(runner.execution(result.execution_id).result, tmp_path)


def test_where_nothing_can_be_written_that_is_said(serial, tmp_path):
    result = serial.execute(branches())
    with pytest.raises(IsADirectoryError, match="The report can't be written: Is a directory"):
        result.save_report(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"can't be written: No such file or directory: '.*nowhere/run\.html'"):
        result.save_report(tmp_path / "nowhere" / "run.html")
