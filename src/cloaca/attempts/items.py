"""An attempt at several instances of a mapped task, as an assignment for each: what each one would be given alone."""

from msgspec.structs import replace

from cloaca.wire.messages import Assignment, Items, Slice


def alone(assignment: Assignment, place: int) -> Assignment:
    """What the instance at that place of an attempt is given.

    >>> several = Assignment(7, "a[3]", 0, Slice({}), items=Items([b"x", b"y"], None, "xs", task="a", number=3))
    >>> one = alone(several, 1)
    >>> one.task, one.items == Items([b"y"], None, "xs", place=1)
    ('a[4]', True)
    """
    items = assignment.items
    if items is None or len(items.payloads) == 1:
        return assignment
    label = items.number + place if items.labels is None else items.labels[place]
    keys = None if items.keys is None else items.keys[place : place + 1]
    writers = items.writers if len(items.writers) == 1 else items.writers[place : place + 1]
    return Assignment(
        assignment.attempt,
        f"{items.task}[{label}]",
        assignment.function,
        assignment.slice if items.overlays is None else _overlaid(assignment.slice, items, place),
        assignment.rules,
        assignment.agreed,
        assignment.nth,
        assignment.ended,
        assignment.seed,
        assignment.place,
        0,
        Items([items.payloads[place]], keys, items.of, writers, place),
        assignment.prefix,
        assignment.variables,
    )


def _overlaid(common: Slice, items: Items, place: int) -> Slice:
    over = (items.overlays or [])[place]
    names = None if common.names is None else (*common.names, *over.names)
    return replace(common, versions={**common.versions, **over.versions}, names=names)
