"""State: what is known at one place of the code: the stack, variables, and keys that were touched on all ways there."""

from collections.abc import Mapping, Sequence

from cloaca.dataflow.symbols import ANY, CONTEXT, MAYBE, Symbol, together, value_of


class State:
    """`read`: keys that were read on every way there; `written`: keys that were set on every way, and to what."""

    __slots__ = ("read", "stack", "variables", "written")

    def __init__(
        self,
        stack: Sequence[Symbol] = (),
        variables: Mapping[str, Symbol] | None = None,
        read: frozenset[str] = frozenset(),
        written: Mapping[str, str] | None = None,
    ) -> None:
        self.stack = list(stack)
        self.variables = dict(variables or {})
        self.read = read
        self.written = dict(written or {})

    def copy(self) -> "State":
        """One that goes another way from here on."""
        return State(self.stack, self.variables, self.read, self.written)

    def pop(self, count: int) -> list[Symbol]:
        """Take so many off the stack; the topmost comes last."""
        if not count:
            return []
        taken = self.stack[-count:]
        del self.stack[-count:]
        return [ANY] * (count - len(taken)) + taken

    def adjust(self, depth: int) -> None:
        """Make the stack as deep as that, where it isn't known what was done to it."""
        del self.stack[max(depth, 0) :]
        self.stack += [ANY] * (depth - len(self.stack))

    def join(self, other: "State") -> "State":
        """What holds whichever of the two ways was taken."""
        depth = min(len(self.stack), len(other.stack))
        stack = [_either(*pair) for pair in zip(self.stack[:depth], other.stack[:depth], strict=True)]
        variables = {name: _either(held, other.variables.get(name, ANY)) for name, held in self.variables.items()}
        return State(stack, variables, self.read & other.read, joined(self.written, other.written))


def joined(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, str]:
    """What is set in both ways, and to what."""
    return {key: together(value, other[key]) for key, value in one.items() if key in other}


def _either(one: Symbol, other: Symbol) -> Symbol:
    if one == other:
        return one
    if CONTEXT in (one, other) or MAYBE in (one, other):
        return MAYBE
    return Symbol(together(value_of(one), value_of(other)))
