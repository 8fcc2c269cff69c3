"""What ran when: lanes, and beneath them curves of what changed over the same time."""

from collections.abc import Iterator, Sequence

from cloaca.account.account import Account
from cloaca.account.spans import Span
from cloaca.account.told import duration, size
from cloaca.report.curves import filled, risen, running
from cloaca.report.lanes import lane, lanes
from cloaca.report.markup import key, section, tools

_TICKS = 5
_CURVE = 60
_KINDS = (
    ("ran", "ran"),
    ("path", "on the critical path"),
    ("failed", "failed, in this try"),
    ("cancelled", "cut off"),
    ("loading", "of that, loading functions and values"),
    ("waiting", "waiting for values"),
    ("encoding", "encoding values"),
)
_KEYS = (
    "Keys: + and - zoom, arrows move, 0 shows all, n and p go from task to task. The wheel zooms after a click, or "
    "with Ctrl; dragging moves."
)


def what_ran_when(account: Account, shown: Sequence[Span]) -> Iterator[str]:
    """The part of the page. `shown`: the spans that are drawn one by one."""
    if not account.spans:
        yield "<h2>What ran when</h2><p>No times are on record: no task ran in this execution.</p>"
        return
    picture = "".join((_axis(account.seconds), *lanes(account, shown), *_curves(account)))
    hidden = len(account.spans) + len(account.failed_spans) - len(shown)
    yield from section(
        "What ran when",
        key(_KINDS, picture),
        f"<p>{hidden:,} short ones aren't shown one by one, but in how busy workers were.</p>" if hidden else "",
        tools("time", _KEYS),
        f'<div id="time" tabindex="0" role="group" aria-label="What ran when">{picture}</div>',
    )


def _axis(seconds: float) -> str:
    ticks = "".join(f"<span>{duration(seconds * tick / (_TICKS - 1))}</span>" for tick in range(_TICKS))
    return f'<div class="lane"><span></span><div class="axis">{ticks}</div></div>'


def _curves(account: Account) -> Iterator[str]:
    seconds, most = account.seconds, max(account.workers, account.most_at_once)
    shape = filled(running(account.moments, seconds, most), _CURVE)
    yield lane(f"running, of {most:,}", [shape], _CURVE)
    name, readings = ("memory", account.memory) if account.memory else ("peaks of memory", account.memory_peaks)
    highest = max((much for _, much in readings), default=0)
    if highest:
        shape = filled(risen(readings, seconds, highest), _CURVE)
        yield lane(f"{name}, up to {size(highest)}", [shape], _CURVE)
