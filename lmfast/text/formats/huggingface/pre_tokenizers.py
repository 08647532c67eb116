"""Pre-tokenizers of a `tokenizer.json`, read and written, but for the ByteLevel of a byte-level BPE."""

from __future__ import annotations

from typing import Any

from lmfast.text.formats.huggingface.components import (
    BEHAVIORS,
    Keys,
    cannot_hold,
    flat,
    read_behavior,
    read_pattern,
    write_pattern,
)
from lmfast.text.formats.strict_json import Node, shown
from lmfast.text.spec import (
    BertPreTokenizer,
    ByteLevel,
    CharDelimiterSplit,
    Digits,
    FixedLength,
    Metaspace,
    PreTokenizer,
    Punctuation,
    Split,
    UnicodeScripts,
    Whitespace,
    WhitespaceSplit,
)

__all__ = ["BYTE_LEVEL", "METASPACE", "SUPPORTED", "read", "read_byte_level", "read_metaspace", "write"]
__all__ += ["write_byte_level", "write_metaspace"]

_PLAIN: dict[str, PreTokenizer] = {
    "BertPreTokenizer": BertPreTokenizer(),
    "Whitespace": Whitespace(),
    "WhitespaceSplit": WhitespaceSplit(),
    "UnicodeScripts": UnicodeScripts(),
}
BYTE_LEVEL = Keys(("add_prefix_space", "trim_offsets"), ("use_regex",))
METASPACE = Keys(("replacement",), ("prepend_scheme", "split", "add_prefix_space", "str_rep"))
SUPPORTED = {name: Keys() for name in _PLAIN} | {
    "ByteLevel": BYTE_LEVEL,
    "Metaspace": METASPACE,
    "Split": Keys(("pattern", "behavior", "invert")),
    "Punctuation": Keys((), ("behavior",)),
    "Digits": Keys(("individual_digits",)),
    "CharDelimiterSplit": Keys(("delimiter",)),
    "FixedLength": Keys((), ("length",)),
}
_SCHEMES = ("always", "first", "never")


def read(node: Node | None) -> tuple[PreTokenizer, ...]:
    """The pre-tokenizers in the order in which they apply."""
    return tuple(_read(kind, child) for kind, child in flat(node, SUPPORTED, "pretokenizers"))


def _read(kind: str, node: Node) -> PreTokenizer:
    match kind:
        case "ByteLevel":
            return read_byte_level(node)
        case "Metaspace":
            return read_metaspace(node)
        case "Split":
            return read_split(node)
        case "Punctuation":
            return Punctuation(read_behavior(node["behavior"]) if "behavior" in node.value else "isolated")
        case "Digits":
            return Digits(node["individual_digits"].boolean())
        case "CharDelimiterSplit":
            return CharDelimiterSplit(read_character(node["delimiter"]))
        case "FixedLength":
            length = node["length"].integer() if "length" in node.value else 5
            return FixedLength(length) if length else node["length"].fail("want 1 or more, got 0")
        case _:
            return _PLAIN[kind]


def read_split(node: Node) -> Split:
    """A `Split`."""
    behavior = read_behavior(node["behavior"])
    pattern, literal = read_pattern(node["pattern"])
    return Split(pattern, behavior, node["invert"].boolean(), literal)


def read_byte_level(node: Node) -> ByteLevel:
    """A `ByteLevel`, wherever it stands; `trim_offsets` is checked and left out."""
    node["trim_offsets"].boolean()
    use_regex = "use_regex" not in node.value or node["use_regex"].boolean()
    return ByteLevel(node["add_prefix_space"].boolean(), use_regex)


def read_metaspace(node: Node) -> Metaspace:
    """A `Metaspace`, as a pre-tokenizer or as a decoder."""
    replacement = read_character(node["replacement"])
    scheme = node["prepend_scheme"].string() if "prepend_scheme" in node.value else "always"
    if scheme not in _SCHEMES:
        node["prepend_scheme"].fail(f"want one of {', '.join(_SCHEMES)}, got {shown(scheme)}")
    prefix = node.get("add_prefix_space")
    if prefix and not prefix.boolean() and scheme != "never":
        prefix.fail(f"false, and prepend_scheme is {shown(scheme)}")
    if text := node.get("str_rep"):
        text.string()
    split = node.get("split")
    return Metaspace(replacement, scheme, split.boolean() if split else True)  # type: ignore[arg-type]


def read_character(node: Node) -> str:
    """A string of one character."""
    if len(node.string()) != 1:
        node.fail(f"want one character, got {shown(node.value)}")
    return node.string()


def write(steps: tuple[PreTokenizer, ...]) -> list[dict[str, Any]]:
    """Pre-tokenizers as components."""
    return [_write(step) for step in steps]


def _write(step: PreTokenizer) -> dict[str, Any]:
    names = {behavior: name for name, behavior in BEHAVIORS.items()}
    match step:
        case ByteLevel():
            return write_byte_level(step)
        case Metaspace():
            return write_metaspace(step)
        case Split(pattern, behavior, invert, literal):
            found = write_pattern(pattern, literal)
            return {"type": "Split", "pattern": found, "behavior": names[behavior], "invert": invert}
        case Punctuation(behavior):
            return {"type": "Punctuation", "behavior": names[behavior]}
        case Digits(individual_digits):
            return {"type": "Digits", "individual_digits": individual_digits}
        case CharDelimiterSplit(delimiter):
            return {"type": "CharDelimiterSplit", "delimiter": delimiter}
        case FixedLength(length):
            return {"type": "FixedLength", "length": length}
    name = type(step).__name__
    if name not in _PLAIN:
        raise cannot_hold(f"the pre-tokenizer {name} with this model")
    return {"type": name}


def write_byte_level(step: ByteLevel) -> dict[str, Any]:
    """A `ByteLevel`, wherever it stands."""
    options = {"add_prefix_space": step.add_prefix_space, "trim_offsets": True, "use_regex": step.use_regex}
    return {"type": "ByteLevel"} | options


def write_metaspace(step: Metaspace) -> dict[str, Any]:
    """A `Metaspace`, as a pre-tokenizer or as a decoder."""
    options = {"replacement": step.replacement, "prepend_scheme": step.prepend_scheme, "split": step.split}
    return {"type": "Metaspace"} | options
