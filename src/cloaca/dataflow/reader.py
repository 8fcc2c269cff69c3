"""Reader: reads the syntax tree of a function with symbols in place of values, and takes down the uses of keys.

An abstract interpretation: where ways meet, what they have in common is kept. A variable stands for all that is ever
bound to its name, in the function and in those inside, as these may be called at any time. Anything that isn't
understood takes what it is given for known to all: a context that goes there may be used in any way, and a value that
goes there may be looked at in any way.
"""

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial, reduce
from typing import Any, Final

from cloaca.dataflow.source import FunctionNode
from cloaca.dataflow.symbols import (
    ADDED,
    ANY,
    ATTRIBUTE,
    CONSTANT,
    CONTEXT,
    DICT,
    EACH_OF,
    GOT,
    LIST,
    LITERAL,
    MAPPING,
    MAYBE,
    MEMBER,
    METHOD,
    NAME,
    NOTHING,
    NUMBER,
    ONE_OF,
    PARTS,
    READ,
    REMOVED,
    SET,
    TEMPLATE,
    TEXT,
    TUPLE,
    UNKNOWN,
    Symbol,
    constant,
    either,
    keys_of,
    kind_of,
    result_of,
    together,
    value_of,
)
from cloaca.dataflow.uses import Uses, Way, joined

_INTOLERANT: Final = frozenset(
    "len sum sorted list tuple set dict iter reversed enumerate int float abs round range min max".split()  # noqa: SIM905
)
"""Functions that can't do anything with `None`, as their first argument."""
_LISTING: Final = frozenset({"keys", "values", "items", "to_dict", "to_json", "copy"})
_TELLING: Final = frozenset({"outcome", "conflicts"})
_PARAMETERS: Final[Mapping[str, tuple[str, ...]]] = {
    "get": ("key", "default"),
    **dict.fromkeys(("set", "insert", "update"), ("key", "value")),
    **dict.fromkeys(("remove", "delete", "lazy"), ("key",)),
}
_SHOWING: Final = {"append": LIST, "extend": LIST, "setdefault": DICT, "popitem": DICT, "update": DICT}
_SWALLOWING: Final = ("suppress", "Error", "Exception")
_SEEING: Final = frozenset({"eval", "exec", "locals", "vars"})
"""Functions that see all variables."""
_MOST_ITEMS: Final = 16
_MOST_PASSES: Final = 16


def uses_of(node: FunctionNode, context: str) -> Uses:
    """What a function does with its context, which is the parameter of that name."""
    variables = {one.arg: ANY for one in ast.walk(node.args) if isinstance(one, ast.arg)} | {context: CONTEXT}
    for _ in range(_MOST_PASSES):  # until it is known what is bound to each name: twice, as a rule
        known = dict(variables)
        reader = _Reader(variables)
        reader.run(node)
        if variables == known:
            return reader.found
    return Uses(reads_more=True, sets_more=True)


class _Reader:
    """Reads one function, and those inside. What stands for an expression is a symbol."""

    def __init__(self, variables: dict[str, Symbol]) -> None:
        self.found = Uses()
        self._variables = variables
        self._way = Way()
        self._caught = 0  # so many times what is raised here is caught
        self._inside = 0  # so many functions deep
        self._rounds: list[list[Way]] = []  # of each loop around, the ways on which a round ends early

    def run(self, node: Any) -> None:
        """Read a function from its start."""
        if isinstance(node, ast.Lambda):
            self._answer(self._read(node.body))
            return
        self._go(node.body)
        if not self._way.is_over:
            self._answer(NOTHING)

    # ---- ways through the code -------------------------------------------------------------------------------------

    def _go(self, parts: Iterable[ast.AST | None]) -> None:
        """Read one after the other, as far as they are reached. Nobody knows what is done with their values."""
        for part in parts:
            if part is not None and not self._way.is_over:
                self._let_go(self._read(part))

    def _one_of(self, *branches: Callable[[], Any]) -> list[Any]:
        """Go one of these ways."""
        before, ends, results = self._way, [], []
        for branch in branches:
            self._way = before.copy()
            results.append(branch())
            ends.append(self._way)
        self._way = joined(ends)
        return results

    def _perhaps(self, branch: Callable[[], Any]) -> Any:
        return self._one_of(branch, lambda: None)[0]

    def _if(self, node: ast.If) -> None:
        self._go([node.test])
        self._one_of(partial(self._go, node.body), partial(self._go, node.orelse))

    def _match(self, node: ast.Match) -> None:
        self._go([node.subject])
        self._one_of(*[partial(self._parts, case) for case in node.cases], lambda: None)

    def _loop(self, node: ast.For | ast.AsyncFor | ast.While) -> None:
        """Go round. A loop over items most likely has some: what is read each time counts as read after it."""
        is_sure = not isinstance(node, ast.While)
        if isinstance(node, ast.While):
            self._go([node.test])
        else:
            self._bind(node.target, self._item(node.iter))
        before, self._way = self._way, self._way.copy()
        self._rounds.append([])
        self._go(node.body)
        after = joined([self._way, *self._rounds.pop()])
        self._way = joined([before, after])
        if is_sure and not after.is_over:
            self._way.read = after.read
        self._perhaps(partial(self._go, node.orelse))

    def _end_round(self, _node: ast.Break | ast.Continue) -> None:
        self._rounds[-1].append(self._way.copy())
        self._way.is_over = True

    def _try(self, node: Any) -> None:
        before = self._way.copy()
        self._caught += bool(node.handlers)
        self._go(node.body)
        self._caught -= bool(node.handlers)
        interrupted = Way(before.read, joined([before, self._way]).written)
        self._go(node.orelse)
        ends = [self._way]
        for handler in node.handlers:
            self._way = interrupted.copy()
            self._parts(handler)
            ends.append(self._way)
        self._way = joined(ends)
        is_over, self._way.is_over = self._way.is_over, False
        self._go(node.finalbody)
        self._way.is_over |= is_over

    def _with(self, node: ast.With | ast.AsyncWith) -> None:
        for item in node.items:
            self._parts(item)
        names = [getattr(one, "id", getattr(one, "attr", "")) for item in node.items for one in ast.walk(item)]
        if any(name.endswith(_SWALLOWING) for name in names):
            self._try(ast.Try(node.body, [ast.ExceptHandler(None, None, [])], [], []))
        else:
            self._go(node.body)

    def _raise(self, node: ast.Raise) -> None:
        self._parts(node)
        self._way.is_over = True

    def _return(self, node: ast.Return) -> None:
        if isinstance(node.value, ast.IfExp):
            self._go([node.value.test])
            parts = node.value.body, node.value.orelse
            self._one_of(*[partial(self._return, ast.Return(part)) for part in parts])
        else:
            self._answer(NOTHING if node.value is None else self._read(node.value))

    def _answer(self, symbol: Symbol) -> None:
        """What a task returns: nothing, its context, or keys to set."""
        if self._inside:
            self._let_go(symbol)
        elif symbol.kind == MAPPING and symbol not in self.found.changed and None not in dict(symbol.of):
            for key, member in symbol.of:
                self._write_to(key, value_of(member))
        elif symbol != CONTEXT and symbol.kind not in (CONSTANT, LITERAL, TUPLE):
            self.found.returns_more = True
            self.found.sets_more |= symbol == MAYBE
        if not self._inside:
            self.found.ends.append(self._way.copy())
        self._way.is_over = True

    def _enclose(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef) -> Symbol:
        """A function inside may be called at any time, if it ever is."""
        self._set(getattr(node, "name", None), ANY)
        self._go([*getattr(node, "decorator_list", ()), *getattr(node, "bases", ()), getattr(node, "args", None)])
        self._caught += 1
        self._inside += 1
        self._perhaps(partial(self.run, node))
        self._inside -= 1
        self._caught -= 1
        return ANY

    # ---- variables and members -------------------------------------------------------------------------------------

    def _assign(self, node: ast.Assign) -> None:
        value = self._read(node.value)
        for target in node.targets:
            self._bind(target, value)

    def _assign_one(self, node: ast.AnnAssign | ast.NamedExpr) -> Symbol:
        value = ANY if node.value is None else self._read(node.value)
        self._bind(node.target, value)
        return value

    def _assign_combined(self, node: ast.AugAssign) -> None:
        self._bind(node.target, self._read(ast.BinOp(_loaded(node.target), node.op, node.value)))

    def _bind(self, target: ast.expr, value: Symbol) -> None:
        match target:
            case ast.Name():
                self._set(target.id, value)
            case ast.Subscript():
                self._set_member(self._read(target.value), self._read(target.slice), value)
            case ast.Tuple() if value.kind == TUPLE and len(value.of) == len(target.elts):
                for part, member in zip(target.elts, value.of, strict=True):
                    self._bind(part, member)
            case _:
                (self._demand if isinstance(target, ast.Tuple | ast.List) else self._let_go)(value)
                self._read(target)

    def _set(self, name: str | None, value: Symbol) -> None:
        if name is not None:
            self._variables[name] = either(self._variables.get(name, value), value)

    def _set_member(self, holder: Symbol, key: Symbol, value: Symbol) -> None:
        if holder == CONTEXT:
            self._write(key, value)
            return
        self._demand(holder)
        self._show(holder, DICT)
        self._let_go(holder, key, value)

    # ---- what becomes of values ------------------------------------------------------------------------------------

    def _let_go(self, *symbols: Symbol) -> None:
        """They go where nobody knows what is done with them."""
        for symbol in symbols:
            if symbol.kind in (CONTEXT.kind, MAYBE.kind, METHOD):
                self.found.reads_more = self.found.sets_more = True
            elif symbol.kind == TUPLE:
                self._let_go(*symbol.of)
            elif symbol.kind == GOT:
                self.found.tested.add(symbol.of)
            elif symbol.kind == MAPPING:
                self.found.changed.add(symbol)

    def _demand(self, symbol: Symbol) -> None:
        """It is used in a way that only works where it is there."""
        if symbol.kind in (CONTEXT.kind, MAYBE.kind, METHOD):
            self._let_go(symbol)
        if symbol.kind == GOT and not self._caught:
            self.found.missed.add(symbol.of)
            self._way.read |= {symbol.of}

    def _go_through(self, items: Symbol) -> None:
        """All of its items are looked at: those of a context are keys."""
        if items == CONTEXT:
            self.found.reads_more = self.found.lists = True
        else:
            self._demand(items)

    def _show(self, symbol: Symbol, kind: str) -> None:
        """It is used as if it were of that kind."""
        if symbol.kind in (READ, GOT):
            self.found.kinds.setdefault(symbol, kind)
        elif symbol.kind == MEMBER:
            self.found.kinds.setdefault(symbol.of, DICT)

    def _used_as(self, symbol: Symbol) -> str:
        return self.found.kinds.get(symbol) or value_of(symbol)

    # ---- keys ------------------------------------------------------------------------------------------------------

    def _need(self, symbol: Symbol) -> Symbol:
        """The key is read, and has to be there."""
        keys = self._keys_read(symbol)
        if self._caught or symbol.kind == ONE_OF:
            self.found.looks.update(keys)
        else:
            self.found.needs.update(keys)
            self._way.read |= {*keys}
        return Symbol(READ, *keys) if len(keys) == 1 else ANY

    def _get(self, symbol: Symbol, default: Symbol | None) -> Symbol:
        """The key is read where it is there."""
        keys = self._keys_read(symbol)
        if default is None and len(keys) == 1:
            self.found.got.update(keys)
            return Symbol(GOT, *keys)
        self.found.looks.update(keys)
        self._let_go(default or NOTHING)
        kind = value_of(default or NOTHING)
        read = Symbol(READ, *keys) if len(keys) == 1 else ANY
        if kind in PARTS:
            self._show(read, kind)
        return Symbol(NUMBER) if kind[:1].isdigit() else read

    def _keys_read(self, symbol: Symbol) -> Sequence[str]:
        keys = keys_of(symbol)
        self.found.reads_more |= not keys
        self._let_go(symbol)
        return keys

    def _ask(self, symbol: Symbol) -> None:
        """It is asked whether the key is there."""
        self.found.asks.update(keys_of(symbol))
        self._go_through(ANY if keys_of(symbol) else CONTEXT)

    def _write(self, symbol: Symbol, value: Symbol) -> None:
        """The key is set to this."""
        self.found.sets_more |= not keys_of(symbol)
        self._let_go(symbol, *([value] if value.kind in (GOT, CONTEXT.kind, MAYBE.kind) else ()))
        branches = [partial(self._write_to, key, self._used_as(value)) for key in keys_of(symbol)]
        if symbol.kind == ONE_OF:
            self._one_of(*branches)
        else:
            for branch in branches:
                branch()

    def _write_to(self, key: str, kind: str) -> None:
        self.found.values[key] = together(self.found.values.get(key, kind), kind)
        self._way.written[key] = kind

    # ---- expressions -----------------------------------------------------------------------------------------------

    def _read(self, node: ast.AST) -> Symbol:
        """What stands for it, after reading it."""
        do: Callable[[_Reader, Any], Any] = _READERS.get(type(node), _Reader._parts)
        found: Symbol | None = do(self, node)
        return found or ANY

    def _parts(self, node: ast.AST) -> Symbol:
        """Read its parts, and bind its names."""
        for name, part in ast.iter_fields(node):
            for one in part if isinstance(part, list) else (part,):
                if isinstance(one, ast.AST):
                    self._go([one])
                elif isinstance(one, str) and name in _BINDING:
                    self._set(one.partition(".")[0], ANY)
        return Symbol(_KINDS.get(type(node), UNKNOWN))

    def _constant(self, node: ast.Constant) -> Symbol:
        return constant(node.value)

    def _text(self, node: ast.JoinedStr) -> Symbol:
        self._parts(node)
        pattern = [self._part_of_text(part) for part in node.values]
        return Symbol(TEXT) if None in pattern else Symbol(TEMPLATE, "".join(filter(None, pattern)))

    def _part_of_text(self, part: ast.expr) -> str | None:
        """How `str.format` puts it; `None` where it is neither a constant nor a variable around the function."""
        if isinstance(part, ast.Constant):
            return str(part.value).replace("{", "{{").replace("}", "}}")
        if not isinstance(part, ast.FormattedValue) or part.conversion != -1 or not isinstance(part.value, ast.Name):
            return None
        symbol, form = self._name(part.value), part.format_spec
        parts = form.values if isinstance(form, ast.JoinedStr) else []
        spec = "".join(str(one.value) for one in parts if isinstance(one, ast.Constant))
        is_known = symbol.kind == NAME and all(isinstance(one, ast.Constant) for one in parts)
        return f"{{{symbol.of}:{spec}}}" if is_known else None

    def _name(self, node: ast.Name) -> Symbol:
        if not isinstance(node.ctx, ast.Load):
            self._set(node.id, ANY)
        return self._variables.get(node.id) or Symbol(NAME, node.id)

    def _attribute(self, node: ast.Attribute) -> Symbol:
        holder, name = self._read(node.value), node.attr
        if holder == CONTEXT:
            return ANY if name in ("seed", "item_key") else Symbol(METHOD, name)
        self._demand(holder)
        if name in _SHOWING:
            self._show(holder, _SHOWING[name])
            self.found.changed.add(holder)
        if holder.kind == NAME:
            return Symbol(NAME, f"{holder.of}.{name}")
        return Symbol(ATTRIBUTE, f"{value_of(holder)}.{name}")

    def _subscript(self, node: ast.Subscript) -> Symbol:
        holder, key = self._read(node.value), self._read(node.slice)
        is_read = isinstance(node.ctx, ast.Load)
        if not is_read:
            self._set_member(holder, key, ANY)
        if holder == CONTEXT:
            return self._need(key) if is_read else ANY
        self._demand(holder)
        self._let_go(key)
        root = holder.of if holder.kind == MEMBER else holder
        return Symbol(MEMBER, root) if root.kind in (READ, GOT) else ANY

    def _delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            if isinstance(target, ast.Subscript):
                self._read(_loaded(target))
                self._bind(target, Symbol(REMOVED))

    def _operation(self, node: ast.BinOp) -> Symbol:
        """What it makes of two values."""
        one, other = self._read(node.left), self._read(node.right)
        self._demand(one)
        self._demand(other)
        kinds = {kind_of(self._used_as(one)), kind_of(self._used_as(other))}
        known = [kind for kind in (LIST, DICT, SET, TEXT, NUMBER) if kind in kinds]
        return Symbol(known[0] if known else ADDED if READ in (one.kind, other.kind) or ADDED in kinds else UNKNOWN)

    def _sign(self, node: ast.UnaryOp) -> Symbol:
        operand = self._read(node.operand)
        self._let_go(operand)
        if isinstance(node.op, ast.USub) and operand.kind == CONSTANT:
            return Symbol(CONSTANT, f"-{operand.of}")
        return Symbol(NUMBER) if isinstance(node.op, ast.Not) else ANY

    def _compare(self, node: ast.Compare) -> Symbol:
        one = self._read(node.left)
        for sign, part in zip(node.ops, node.comparators, strict=True):
            other = self._read(part)
            match sign:
                case ast.In() | ast.NotIn() if other == CONTEXT:
                    self._ask(one)
                case ast.In() | ast.NotIn():
                    self._let_go(one)
                    self._demand(other)
                case ast.Eq() | ast.NotEq() | ast.Is() | ast.IsNot():
                    self._let_go(one, other)
                case _:
                    self._demand(one)
                    self._demand(other)
            one = other
        return Symbol(NUMBER)

    def _either(self, node: ast.BoolOp) -> Symbol:
        symbol = self._read(node.values[0])
        for part in node.values[1:]:
            self._let_go(symbol)
            symbol = either(symbol, self._perhaps(partial(self._read, part)))
        return symbol

    def _choose(self, node: ast.IfExp) -> Symbol:
        self._go([node.test])
        return either(*self._one_of(partial(self._read, node.body), partial(self._read, node.orelse)))

    def _tuple(self, node: ast.Tuple) -> Symbol:
        return Symbol(TUPLE, tuple([self._read(part) for part in node.elts]))

    def _starred(self, node: ast.Starred | ast.Await) -> Symbol:
        self._go_through(self._read(node.value))
        return ANY

    def _mapping(self, node: ast.Dict) -> Symbol:
        pairs: list[tuple[str | None, Symbol]] = []
        for key, part in zip(node.keys, node.values, strict=True):
            symbol, member = NOTHING if key is None else self._read(key), self._read(part)
            keys = keys_of(symbol)
            pairs.append((keys[0] if len(keys) == 1 else None, member))
            if key is None:
                self._go_through(member)
            self._let_go(*([symbol, member] if key is not None else []))
        return Symbol(MAPPING, tuple(pairs))

    def _comprehend(self, node: Any) -> Symbol:
        """Most likely there are items: what is read for each counts as read, unless there are conditions."""
        for generator in node.generators:
            self._bind(generator.target, self._item(generator.iter))
            self._go(generator.ifs)
        parts = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        is_sure = not any(generator.ifs for generator in node.generators)
        if is_sure:
            self._go(parts)
        else:
            self._perhaps(partial(self._go, parts))
        return Symbol(_KINDS.get(type(node), UNKNOWN))

    def _item(self, items: ast.expr) -> Symbol:
        """What is each of the items that a loop goes over: one of those that stand there, or something else."""
        if isinstance(items, ast.Tuple | ast.List | ast.Set) and 0 < len(items.elts) <= _MOST_ITEMS:
            item = reduce(either, [self._read(part) for part in items.elts])
            return Symbol(EACH_OF, item.of) if item.kind == ONE_OF else item
        self._go_through(self._read(items))
        return ANY

    def _call(self, node: ast.Call) -> Symbol:
        callee = self._read(node.func)
        given = [self._read(part) for part in node.args]
        named = {part.arg: self._read(part.value) for part in node.keywords}
        is_clear = None not in named and not any(isinstance(part, ast.Starred) for part in node.args)
        self._go_through(named.pop(None, ANY))
        if callee.kind == METHOD:
            return self._ask_context(callee.of if is_clear else "", given, named)
        if callee.kind == NAME and callee.of in _INTOLERANT and given:
            self._go_through(given.pop(0))
        is_seeing = callee.kind == NAME and callee.of in _SEEING
        self._let_go(callee, *given, *named.values(), *([CONTEXT] if is_seeing else []))
        return result_of(callee)

    def _ask_context(self, method: str, given: Sequence[Symbol], named: Mapping[Any, Symbol]) -> Symbol:
        """A method of the context is called."""
        if method in _LISTING or method in _TELLING:
            self.found.reads_more |= method == "conflicts"  # it compares values
            self._go_through(CONTEXT if method in _LISTING else ANY)
            self._let_go(*given, *named.values())
            return ANY
        parameters = _PARAMETERS.get(method, ())
        arguments = {**dict(zip(parameters, given, strict=False)), **named}
        is_known = "key" in arguments and ("value" in arguments or "value" not in parameters)
        if not is_known or len(given) > len(parameters) or not arguments.keys() <= {*parameters}:
            self._let_go(CONTEXT, *given, *named.values())
            return ANY
        key = arguments["key"]
        if method == "get":
            return self._get(key, arguments.get("default"))
        if method == "lazy":
            return self._need(key)
        if method == "update":
            self._need(key)
        elif method != "set":
            self._ask(key)
        self._write(key, arguments.get("value", ANY) if "value" in parameters else Symbol(REMOVED))
        return NOTHING if "value" in parameters else ANY


def _loaded(target: Any) -> Any:
    """The expression that reads what is set, or deleted, there."""
    return type(target)(**{**vars(target), "ctx": ast.Load()})


_BINDING: Final = frozenset({"name", "asname", "rest", "arg", "names"})
"""Where names stand that a piece of syntax binds."""
_KINDS: Final[Mapping[type[ast.AST], str]] = {
    **dict.fromkeys((ast.List, ast.ListComp), LIST),
    **dict.fromkeys((ast.Set, ast.SetComp), SET),
    ast.DictComp: DICT,
}
_READERS: Final[Mapping[type[ast.AST], Callable[[_Reader, Any], Any]]] = {
    ast.Constant: _Reader._constant,
    ast.JoinedStr: _Reader._text,
    ast.Name: _Reader._name,
    ast.Attribute: _Reader._attribute,
    ast.Subscript: _Reader._subscript,
    ast.BinOp: _Reader._operation,
    ast.UnaryOp: _Reader._sign,
    ast.Compare: _Reader._compare,
    ast.BoolOp: _Reader._either,
    ast.IfExp: _Reader._choose,
    ast.Tuple: _Reader._tuple,
    ast.Dict: _Reader._mapping,
    **dict.fromkeys((ast.Starred, ast.Await), _Reader._starred),
    **dict.fromkeys((ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp), _Reader._comprehend),
    ast.Call: _Reader._call,
    **dict.fromkeys((ast.AnnAssign, ast.NamedExpr), _Reader._assign_one),
    ast.Assign: _Reader._assign,
    ast.AugAssign: _Reader._assign_combined,
    ast.Delete: _Reader._delete,
    ast.If: _Reader._if,
    ast.Match: _Reader._match,
    **dict.fromkeys((ast.For, ast.AsyncFor, ast.While), _Reader._loop),
    **dict.fromkeys((ast.Break, ast.Continue), _Reader._end_round),
    **dict.fromkeys((ast.Try, ast.TryStar), _Reader._try),
    **dict.fromkeys((ast.With, ast.AsyncWith), _Reader._with),
    ast.Raise: _Reader._raise,
    ast.Return: _Reader._return,
    **dict.fromkeys((ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef), _Reader._enclose),
}
"""How pieces of syntax are read. The values of all others, and of their parts, go where nobody knows."""
