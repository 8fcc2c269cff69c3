"""Reader: reads the syntax tree of a function with symbols in place of values, and takes down the uses of keys.

An abstract interpretation: where ways meet, what they have in common is kept. A variable stands for all that is ever
bound to its name, in the function and in those inside, as these may be called at any time. Anything that isn't
understood takes what it is given for known to all: a context that goes there may be used in any way, and a value that
goes there may be looked at in any way.
"""

import ast
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any, Final

from cloaca.dataflow.source import FunctionNode
from cloaca.dataflow.symbols import ANY, ANY_KEY, CONTEXT, VARIABLE, Symbol, ValueKind, either, symbol_of
from cloaca.dataflow.uses import END, Uses, Way, joined

_INTOLERANT: Final = frozenset(
    "len sum sorted list tuple set dict iter reversed enumerate int float abs round range min max".split()  # noqa: SIM905
)
"""Functions that can't do anything with `None`, as their first argument."""
_SEEING: Final = frozenset({"eval", "exec", "locals", "vars"})
"""Functions that see all variables."""
_MADE: Final[Mapping[str, Symbol]] = {
    "print": symbol_of(None),
    **dict.fromkeys(("len", "int", "float", "bool", "round", "sum", "abs"), Symbol("number")),
    **dict.fromkeys(("str", "repr", "tuple", "join", "format"), Symbol("text")),
    **dict.fromkeys(("list", "sorted", "tolist", "split", "splitlines"), Symbol("list")),
    **dict.fromkeys(("dict", "defaultdict", "Counter", "OrderedDict", "to_dict", "fromkeys"), Symbol("dict")),
    **dict.fromkeys(("set", "frozenset"), Symbol("set")),
}
"""What functions and methods of that name return."""
_KINDS: Final[Mapping[type[ast.AST], ValueKind]] = {
    **dict.fromkeys((ast.List, ast.ListComp), "list"),
    **dict.fromkeys((ast.Set, ast.SetComp), "set"),
    ast.DictComp: "dict",
}
_SHOWING: Final[Mapping[str, ValueKind]] = {
    "append": "list",
    "extend": "list",
    "setdefault": "dict",
    "popitem": "dict",
    "update": "dict",
}
_CHANGING: Final = frozenset({"append", "extend", "insert", "sort", "reverse", "setdefault", "popitem"})
"""Methods that change a list or a dict in place: they are called for that where nothing is done with the result."""
_FETCHING: Final = frozenset({"get", "setdefault"})
_PREVAILING: Final[Sequence[ValueKind]] = ("list", "dict", "set", "text", "number", "added")
"""What an operation makes of two values, if one of them is that."""
_LISTING: Final = frozenset({"keys", "values", "items", "to_dict", "to_json", "copy", "conflicts"})
_SWALLOWING: Final = ("suppress", "Error", "Exception")
_BINDING: Final = frozenset({"name", "asname", "rest", "arg", "names"})
"""Where names stand that a piece of syntax binds."""
_MOST_ITEMS: Final = 16
_MOST_PASSES: Final = 16


def uses_of(node: FunctionNode, context: str) -> Uses:
    """What a function does with its context, which is the parameter of that name."""
    variables = {one.arg: ANY for one in ast.walk(node.args) if isinstance(one, ast.arg)} | {context: CONTEXT}
    uses = Uses()
    for _ in range(_MOST_PASSES):  # until all that was read of variables is what is bound to them: twice, as a rule
        reader = _Reader(variables)
        reader.run(node)
        uses = reader.uses
        if all(variables.get(name, symbol) == symbol for name, symbol in reader.seen):
            return uses
    uses.let_go(CONTEXT)
    return uses


class _Reader(ast.NodeVisitor):
    """Reads one function, and those inside. What stands for an expression is a symbol."""

    def __init__(self, variables: dict[str, Symbol]) -> None:
        self.uses = Uses()
        self.seen: list[tuple[str, Symbol]] = []  # what was read of variables
        self._variables = variables
        self._shared: set[str] = set()  # variables that others see
        self._inside = 0  # so many functions deep
        self._items: list[str] = []  # variables that are each item of a loop around
        self._rounds: list[list[Way]] = []  # of each loop around, the ways on which a round ends early

    def visit(self, node: ast.AST) -> Symbol:
        """Read it: what stands for its value. Of all syntax without a method, nobody knows what it does with values."""
        read = getattr(self, f"visit_{type(node).__name__}", self.generic_visit)
        return read(node) or ANY

    def generic_visit(self, node: ast.AST) -> Symbol:
        for name, part in ast.iter_fields(node):
            for one in part if isinstance(part, list) else [part]:
                if isinstance(one, ast.AST):
                    self._go([one])
                elif isinstance(one, str) and name in _BINDING:
                    self._set(one.partition(".")[0], ANY)
        return Symbol(_KINDS.get(type(node), "unknown"))

    def _go(self, parts: Iterable[ast.AST | None]) -> None:
        """Read one after the other, as far as they are reached."""
        for part in parts:
            if part is not None and END not in self.uses.way:
                self.uses.let_go(self.visit(part))

    # ---- ways through the code -------------------------------------------------------------------------------------

    def run(self, node: Any) -> None:
        """Read a function, or a class, from its start."""
        self._go([ast.Return(node.body)] if isinstance(node, ast.Lambda) else [*node.body, ast.Return()])

    def visit_If(self, node: ast.If) -> None:
        self._go([node.test])
        self.uses.one_of(self._go, node.body, node.orelse)

    def visit_Match(self, node: ast.Match) -> None:
        self._go([node.subject])
        self.uses.one_of(self.generic_visit, *node.cases, ast.Pass())

    def visit_For(self, node: ast.For | ast.AsyncFor | ast.While) -> None:
        """A loop over items most likely has some: what is read each time counts as read after it."""
        if isinstance(node, ast.While):
            self._go([node.test])
        else:
            self._bind(node.target, self._item(node.iter))
        before = self.uses.way
        self._rounds.append([])
        self._go_through(node.body, [] if isinstance(node, ast.While) else [node.target])
        after = joined([self.uses.way, *self._rounds.pop()])
        surely = [event for event in after if event[0] == "read" and not isinstance(node, ast.While)]
        self.uses.way = joined([before.union(surely), after])
        self.uses.perhaps(self._go, node.orelse)

    visit_AsyncFor = visit_While = visit_For

    def visit_Break(self, node: ast.AST) -> None:  # noqa: ARG002 - the shape of all of these
        self._rounds[-1].append(self.uses.way)
        self.uses.way |= {END}

    visit_Continue = visit_Break

    def visit_Try(self, node: Any) -> None:
        uses, before = self.uses, self.uses.way
        uses.caught += bool(node.handlers)
        self._go(node.body)
        uses.caught -= bool(node.handlers)
        interrupted = joined([before, uses.way])
        self._go(node.orelse)
        ends = [uses.way]
        for handler in node.handlers:
            uses.way = interrupted
            self.generic_visit(handler)
            ends.append(uses.way)
        uses.way = after = joined(ends)
        if node.finalbody:  # it runs wherever the rest was left, and may return
            uses.way = interrupted
            self._go(node.finalbody)
            uses.way = frozenset([event for event in uses.way | after if event[0] != "is"])

    visit_TryStar = visit_Try

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        self._go(node.items)
        names = [getattr(one, "id", getattr(one, "attr", "")) for item in node.items for one in ast.walk(item)]
        if any(name.endswith(_SWALLOWING) for name in names):
            self.visit_Try(ast.Try(node.body, [ast.ExceptHandler(None, None, [])], [], []))
        else:
            self._go(node.body)

    visit_AsyncWith = visit_With

    def visit_Raise(self, node: ast.Raise) -> None:
        self.generic_visit(node)
        self.uses.way |= {END}

    def visit_Return(self, node: ast.Return) -> None:
        if isinstance(node.value, ast.IfExp):
            choice = node.value
            self.visit_If(ast.If(choice.test, [ast.Return(choice.body)], [ast.Return(choice.orelse)]))
            return
        symbol = symbol_of(None) if node.value is None else self.visit(node.value)
        if self._inside:
            self.uses.let_go(symbol)
            self.uses.way |= {END}
        else:
            self.uses.end(symbol)

    def visit_FunctionDef(self, node: Any) -> None:
        """A function inside may be called at any time, if it ever is."""
        if not isinstance(node, ast.Lambda):
            self._set(node.name, ANY)
            self._go(node.decorator_list)
        self._go([*node.bases, *node.keywords] if isinstance(node, ast.ClassDef) else [node.args])
        self.uses.caught += 1
        self._inside += 1
        self.uses.perhaps(self.run, node)
        self._inside -= 1
        self.uses.caught -= 1

    visit_AsyncFunctionDef = visit_Lambda = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Who knows a class knows what is bound in it."""
        self.visit_FunctionDef(node)
        names = [one.id for one in ast.walk(node) if isinstance(one, ast.Name) and not isinstance(one.ctx, ast.Load)]
        self._go([ast.Name(name, ast.Load()) for name in names])

    # ---- variables and members -------------------------------------------------------------------------------------

    def visit_Assign(self, node: ast.Assign) -> None:
        value = self.visit(node.value)
        for target in node.targets:
            self._bind(target, value)

    def visit_NamedExpr(self, node: ast.AnnAssign | ast.NamedExpr) -> Symbol:
        value = ANY if node.value is None else self.visit(node.value)
        self._bind(node.target, value)
        return value

    visit_AnnAssign = visit_NamedExpr

    def visit_Expr(self, node: ast.Expr) -> Symbol:
        call = node.value
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in _CHANGING:
            self._lose(call.func.value)
        return self.visit(call)

    def _lose(self, holder: ast.expr) -> None:
        """What stands there is changed: a copy that the context hands out is gone after that."""
        match holder:
            case ast.Subscript(ast.Name(context), key) if self._variables.get(context) == CONTEXT:
                self.uses.lose(self.visit(key))
            case ast.Call(ast.Attribute(ast.Name(context), method), [key, *_]) if method in _FETCHING:
                if self._variables.get(context) == CONTEXT:
                    self.uses.lose(self.visit(key))
            case ast.Subscript(further):
                self._lose(further)
            case _:
                pass

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name) and self._variables.get(node.target.id) == CONTEXT:
            self.uses.write_all(self.visit(node.value))
            return
        self._bind(node.target, self.visit(ast.BinOp(_loaded(node.target), node.op, node.value)))

    def visit_Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            if isinstance(target, ast.Subscript):
                self.visit(_loaded(target))
                self._bind(target, Symbol("removed"))

    def _bind(self, target: ast.expr, value: Symbol) -> None:
        match target:
            case ast.Name(name):
                self._set(name, value)
            case ast.Subscript(holder, key):
                self._set_member(holder, self.visit(key), value)
            case ast.Tuple(targets) if value.role == "tuple" and len(value.of) == len(targets):
                for part, member in zip(targets, value.of, strict=True):
                    self._bind(part, member)
            case _:
                (self.uses.demand if isinstance(target, ast.Tuple | ast.List) else self.uses.let_go)(value)
                self.visit(target)

    def _set(self, name: str, value: Symbol) -> None:
        self._variables[name] = either(self._variables.get(name, value), value)
        if name in self._shared:
            self.uses.let_go(value)

    def _set_member(self, place: ast.expr, key: Symbol, value: Symbol) -> None:
        holder = self.visit(place)
        if holder == CONTEXT:
            self.uses.write(key, value)
            return
        self._lose(place)
        self.uses.demand(holder)
        self.uses.let_go(holder, key, value)
        self._show(place, "dict")

    def _show(self, place: ast.expr, kind: ValueKind) -> None:
        """What stands there is used as if it were of that kind."""
        while isinstance(place, ast.Subscript):
            place, kind = place.value, "dict"
        name = place.id if isinstance(place, ast.Name) else ""
        symbol = self._variables.get(name, ANY)
        if symbol.role in ("read", "got") and symbol.kind == "unknown":
            self._variables[name] = symbol._replace(kind=kind)

    def visit_Global(self, node: ast.Global | ast.Nonlocal) -> None:
        self._shared.update(node.names)
        self.generic_visit(node)

    visit_Nonlocal = visit_Global

    # ---- expressions -----------------------------------------------------------------------------------------------

    def visit_Constant(self, node: ast.Constant) -> Symbol:
        return symbol_of(node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> Symbol:
        self.generic_visit(node)
        parts = [self._part_of_text(part) for part in node.values]
        return Symbol("text") if None in parts else Symbol("text", "each", (VARIABLE + "".join(filter(None, parts)),))

    def _part_of_text(self, part: ast.expr) -> str | None:
        """How `str.format` puts it; `None` where it is neither a constant nor a variable around the function."""
        match part:
            case ast.Constant(str(text)):
                return text.replace("{", "{{").replace("}", "}}")
            case ast.FormattedValue(ast.Name(name), -1, None) if name not in self._variables:
                return f"{{{name}}}"
            case ast.FormattedValue(ast.Name(name), -1, ast.JoinedStr([ast.Constant(str(form))])):
                return f"{{{name}:{form}}}" if name not in self._variables else None
            case _:
                return None

    def visit_Name(self, node: ast.Name) -> Symbol:
        if not isinstance(node.ctx, ast.Load):
            self._set(node.id, ANY)
        symbol = self._variables.get(node.id) or Symbol("unknown", "name", node.id)
        self.seen.append((node.id, symbol))
        is_one = symbol.role == "each" and len(symbol.of) > 1 and node.id not in self._items
        return symbol._replace(role="one of") if is_one else symbol

    def visit_Attribute(self, node: ast.Attribute) -> Symbol:
        holder, name = self.visit(node.value), node.attr
        if holder == CONTEXT:
            return ANY if name in ("seed", "item_key", "slots") else Symbol("unknown", "method", name)
        self.uses.demand(holder)
        if name in _SHOWING:
            self._show(node.value, _SHOWING[name])
        if holder.role == "pairs" and name not in _LISTING:
            self.uses.let_go(holder)
        return Symbol("unknown", "name", f"{holder.of}.{name}") if holder.role == "name" else ANY

    def visit_Subscript(self, node: ast.Subscript) -> Symbol:
        if not isinstance(node.ctx, ast.Load):
            self._bind(node, ANY)
            return ANY
        holder, key = self.visit(node.value), self.visit(node.slice)
        if holder == CONTEXT:
            return self.uses.need(key)
        self.uses.demand(holder)
        self.uses.let_go(key)
        return ANY

    def visit_BinOp(self, node: ast.BinOp) -> Symbol:
        one, other = self.visit(node.left), self.visit(node.right)
        self.uses.demand(one, other)
        for kind in _PREVAILING:
            if kind in (one.kind, other.kind):
                return Symbol(kind)
        return Symbol("added" if "read" in (one.role, other.role) else "unknown")

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Symbol:
        operand = self.visit(node.operand)
        self.uses.let_go(operand)
        if operand.role == "constant":
            return Symbol("number", "constant", f"{type(node.op).__name__} {operand.of}")
        return Symbol("number" if isinstance(node.op, ast.Not) else "unknown")

    def visit_Compare(self, node: ast.Compare) -> Symbol:
        symbols = [self.visit(part) for part in (node.left, *node.comparators)]
        for one, sign, other in zip(symbols, node.ops, symbols[1:], strict=False):
            match sign:
                case ast.In() | ast.NotIn() if other == CONTEXT:
                    self.uses.ask(one)
                case ast.In() | ast.NotIn():
                    self.uses.let_go(one)
                    self.uses.demand(other)
                case ast.Eq() | ast.NotEq() | ast.Is() | ast.IsNot():
                    self.uses.let_go(one, other)
                case _:
                    self.uses.demand(one, other)
        return Symbol("number")

    def visit_BoolOp(self, node: ast.BoolOp) -> Symbol:
        symbol = self.visit(node.values[0])
        for part in node.values[1:]:
            self.uses.let_go(symbol)
            symbol = either(symbol, self.uses.perhaps(self.visit, part))
        return symbol

    def visit_IfExp(self, node: ast.IfExp) -> Symbol:
        self._go([node.test])
        return either(*self.uses.one_of(self.visit, node.body, node.orelse))

    def visit_Tuple(self, node: ast.Tuple) -> Symbol:
        return Symbol("text", "tuple", tuple([self.visit(part) for part in node.elts]))

    def visit_Starred(self, node: ast.Starred | ast.Await) -> None:
        self.uses.go_through(self.visit(node.value))

    visit_Await = visit_Starred

    def visit_Dict(self, node: ast.Dict) -> Symbol:
        pairs: list[tuple[str, Symbol]] = []
        for key, part in zip(node.keys, node.values, strict=True):
            symbol, value = ANY if key is None else self.visit(key), self.visit(part)
            (self.uses.go_through if key is None else self.uses.let_go)(value)
            self.uses.let_go(symbol)
            pairs += [(one, value) for one in symbol.keys if symbol.role != "one of"]
        is_known = len(pairs) == len(node.keys) and ANY_KEY not in dict(pairs)
        return Symbol("dict", "pairs", tuple(pairs)) if is_known else Symbol("dict")

    def visit_ListComp(self, node: Any) -> Symbol:
        """Most likely there are items: what is read for each counts as read, unless there are conditions."""
        for generator in node.generators:
            self._bind(generator.target, self._item(generator.iter))
            self._go(generator.ifs)
        parts = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        if any(generator.ifs for generator in node.generators):
            self.uses.perhaps(self._go, parts)
        else:
            self._go_through(parts, [generator.target for generator in node.generators])
        return Symbol(_KINDS.get(type(node), "unknown"))

    visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_ListComp

    def _go_through(self, parts: Sequence[ast.AST], targets: Sequence[ast.expr]) -> None:
        """Read what is done with each item, unless it may end before the last one."""
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        several = [name for name in names if self._variables[name].role == "each"]
        if any(isinstance(one, ast.Break | ast.Return) for part in parts if several for one in ast.walk(part)):
            several = []
        before, self._items = self._items, [*self._items, *several]
        self._go(parts)
        self._items = before

    def _item(self, items: ast.expr) -> Symbol:
        """What is each of the items that a loop goes over: one of those that stand there, or something else."""
        if isinstance(items, ast.Tuple | ast.List | ast.Set) and 0 < len(items.elts) <= _MOST_ITEMS:
            symbols = [self.visit(part) for part in items.elts]
            item = reduce(either, symbols)
            return item._replace(role="each") if all(symbol.role == "each" for symbol in symbols) else item
        self.uses.go_through(self.visit(items))
        return ANY

    # ---- calls -----------------------------------------------------------------------------------------------------

    def visit_Call(self, node: ast.Call) -> Symbol:
        callee = self.visit(node.func)
        given = [self.visit(part) for part in node.args]
        named = {part.arg or "**": self.visit(part.value) for part in node.keywords}
        is_clear = "**" not in named and not any(isinstance(part, ast.Starred) for part in node.args)
        self.uses.go_through(named.pop("**", ANY))
        if callee.role == "method":
            return self._ask_context(callee.of if is_clear else "", given, named)
        name = callee.of if callee.role == "name" else ""
        if name in _INTOLERANT and given:
            self.uses.go_through(given.pop(0))
        self.uses.let_go(callee, *given, *named.values(), *([CONTEXT] if name in _SEEING else []))
        if isinstance(node.func, ast.Attribute):
            made = _MADE.get(node.func.attr, ANY)
            return made if made.kind in ("list", "dict") or isinstance(node.func.value, ast.Constant) else ANY
        return _MADE.get(name, ANY)

    def _ask_context(self, method: str, given: list[Symbol], named: dict[str, Symbol]) -> Symbol:
        """A method of the context is called."""
        uses, rest = self.uses, {**named}
        arguments = [*given, *[rest.pop(name) for name in ("key", "value", "default") if name in named]]
        match method, arguments:
            case _ if method == "outcome" or method in _LISTING:
                uses.go_through(ANY if method == "outcome" else CONTEXT)
                uses.let_go(*given, *named.values())
            case _ if rest:
                uses.let_go(CONTEXT, *given, *named.values())
            case "get", [_] | [_, _]:
                return uses.get(*arguments)
            case "lazy", [key]:
                return uses.need(key)
            case _:
                return self._change_context(method, arguments)
        return ANY

    def _change_context(self, method: str, arguments: list[Symbol]) -> Symbol:
        uses, value = self.uses, ANY
        match method, arguments:
            case "set" | "insert" | "update", [key, value]:
                if method != "set":
                    (uses.need if method == "update" else uses.ask)(key)
                uses.write(key, value)
                return symbol_of(None)
            case "update", [mapping]:
                uses.write_all(mapping)
                return symbol_of(None)
            case "remove" | "delete", [key]:
                uses.ask(key)
                uses.write(key, Symbol("removed"))
            case "pop", [key, *rest]:
                value = uses.get(key, *rest) if rest else uses.need(key)
                uses.write(key, Symbol("removed"))
            case "setdefault", [key, *rest]:
                value = uses.get(key, *rest) if rest else uses.get(key, symbol_of(None))
                uses.write(key, ANY)
            case _:
                uses.let_go(CONTEXT, *arguments)
        return value


def _loaded(target: Any) -> Any:
    """The expression that reads what is set, or deleted, there."""
    return type(target)(**{**vars(target), "ctx": ast.Load()})
