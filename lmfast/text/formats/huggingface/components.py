"""What all components of a `tokenizer.json` have in common: an object with a type, and `Sequence`s of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from lmfast.text.formats.oniguruma import from_oniguruma, to_oniguruma
from lmfast.text.formats.strict_json import Node, shown

__all__ = [
    "BEHAVIORS",
    "Keys",
    "cannot_hold",
    "flat",
    "read_behavior",
    "read_pattern",
    "read_token",
    "write_pattern",
    "write_sequence",
]

BEHAVIORS = {
    "Isolated": "isolated",
    "Removed": "removed",
    "MergedWithPrevious": "merged_with_previous",
    "MergedWithNext": "merged_with_next",
    "Contiguous": "contiguous",
}
_MAX_PATTERN = 65_536


class Keys(NamedTuple):
    """The keys of a component: those that it must have, and those that it may have."""

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


def _type_of(node: Node, supported: Mapping[str, Keys]) -> str:
    """The type of a component, once its keys are checked against those the type has."""
    if type(node.value) is not dict:
        node.fail(f"want an object, got {shown(node.value)}")
    if "type" not in node.value:
        node.fail("the key 'type' is missing")
    kind = node["type"].string()
    if kind not in supported:
        node.fail(f"type {shown(kind)} is not supported; supported: {', '.join(supported)}")
    node.object(("type", *supported[kind].required), supported[kind].optional)
    return kind


def flat(node: Node | None, supported: Mapping[str, Keys], inside: str) -> Iterable[tuple[str, Node]]:
    """The components in a component, `Sequence`s opened, each with its type; nothing where there is none."""
    if node is None or node.value is None:
        return
    kind = _type_of(node, {**supported, "Sequence": Keys((inside,))})
    if kind != "Sequence":
        yield kind, node
        return
    for child in node[inside].array():
        if child.value is None:
            child.fail("null in a sequence")
        yield from flat(child, supported, inside)


def write_sequence(components: list[dict[str, Any]], inside: str) -> dict[str, Any] | None:
    """Components as one."""
    if len(components) > 1:
        return {"type": "Sequence", inside: components}
    return components[0] if components else None


def read_behavior(node: Node) -> Any:
    """The name of what becomes of a match."""
    behavior = node.string()
    if behavior not in BEHAVIORS:
        node.fail(f"want one of {', '.join(BEHAVIORS)}, got {shown(behavior)}")
    return BEHAVIORS[behavior]


def read_pattern(pattern: Node) -> tuple[str, bool]:
    """A pattern, and whether it is a literal string."""
    pattern.object((), ("Regex", "String"))
    if len(pattern.value) != 1:
        pattern.fail('want {"Regex": ...} or {"String": ...}')
    kind = next(iter(pattern.value))
    text = pattern[kind].string()
    if not 0 < len(text) <= _MAX_PATTERN:
        pattern[kind].fail(f"a pattern of {len(text)} characters; want 1 to {_MAX_PATTERN}")
    if kind == "Regex":
        try:
            text = from_oniguruma(text)
        except ValueError as error:
            pattern[kind].fail(str(error))
    return text, kind == "String"


def write_pattern(pattern: str, literal: bool) -> dict[str, str]:
    """A pattern as the file has it. Errors: ValueError for one that means something else there."""
    return {"String": pattern} if literal else {"Regex": to_oniguruma(pattern)}


def read_token(node: Node) -> tuple[str, int]:
    """A token and its id, as an array of both."""
    items = node.array()
    if len(items) != 2:
        node.fail(f"want a token and its id, got an array of {len(items)}")
    return items[0].string(), items[1].integer()


def cannot_hold(what: str) -> ValueError:
    """The error of a writer."""
    return ValueError(f"a tokenizer.json cannot hold {what}")
