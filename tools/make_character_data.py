"""Writes lmfast/text/pipeline/character_data.py: the characters that tokenizers takes for numbers, marks and so on.

Its parts come with different versions of Unicode, some of them old; no library of Python's has the same. So each
property is read off the wheel itself, one character after another: `python tools/make_character_data.py`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path

import tokenizers
from tokenizers import normalizers, pre_tokenizers

SCALARS = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
TARGET = Path(__file__).parent.parent / "lmfast/text/pipeline/character_data.py"


def between(component: object, character: str) -> list[str]:
    """What becomes of a character between two letters."""
    text = f"a{character}b"
    if hasattr(component, "normalize_str"):
        return [component.normalize_str(text)]
    return [piece for piece, _ in component.pre_tokenize_str(text)]  # type: ignore[attr-defined]


def where(component: object, outcome: Callable[[str], list[str]]) -> str:
    """The characters of which a component makes something, as runs: a first code point, and one more than the last."""
    return runs(ord(c) for c in SCALARS if between(component, c) == outcome(c))


def runs(code_points: Iterable[int]) -> str:
    """Gaps and lengths in turn, in hexadecimal digits."""
    numbers, done = [], 0
    for _, group in groupby(enumerate(code_points), lambda pair: pair[1] - pair[0]):
        members = [code_point for _, code_point in group]
        numbers += [members[0] - done, len(members)]
        done = members[-1] + 1
    return " ".join(f"{n:x}" for n in numbers)


def mappings(component: object) -> str:
    """Characters that become others, as code points and what they become."""
    pairs = ((c, component.normalize_str(c)) for c in SCALARS)  # type: ignore[attr-defined]
    return " ".join(f"{ord(c):x}={'+'.join(f'{ord(x):x}' for x in new)}" for c, new in pairs if new != c)


def scripts() -> dict[str, str]:
    """The characters of each script, by a character of it: two neighbours of one script are not cut.

    Characters of no script, which are cut from nothing, are left out.
    """
    component = pre_tokenizers.UnicodeScripts()
    kinds: list[str] = []
    members: dict[str, list[int]] = {}
    last = ""
    for c in SCALARS:
        if all(len(component.pre_tokenize_str(letter + c)) == 1 for letter in "a\u03b1"):
            continue
        if not last or len(component.pre_tokenize_str(last + c)) > 1:
            last = next((kind for kind in kinds if len(component.pre_tokenize_str(kind + c)) == 1), "")
            if not last:
                kinds.append(c)
                last = c
        members.setdefault(last, []).append(ord(c))
    return {kind: runs(code_points) for kind, code_points in members.items()}


def main() -> None:
    nothing = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
    marks = normalizers.BertNormalizer(**nothing | {"strip_accents": True})
    clean = normalizers.BertNormalizer(**nothing | {"clean_text": True})
    data = {
        "NUMERIC": where(pre_tokenizers.Digits(individual_digits=True), lambda c: ["a", c, "b"]),
        "PUNCTUATION": where(pre_tokenizers.Punctuation(), lambda c: ["a", c, "b"]),
        "MARKS": where(normalizers.StripAccents(), lambda c: ["ab"]),
        "NONSPACING_MARKS": where(marks, lambda c: ["ab"]),
        "REMOVED_BY_BERT": where(clean, lambda c: ["ab"]),
        "LOWERCASE": mappings(normalizers.Lowercase()),
    }
    out = [
        f'"""What tokenizers {tokenizers.__version__} takes characters for. Written by tools/make_character_data.py."""'
    ]
    for name, text in data.items():
        lines = textwrap.wrap(text, 112)
        out.append(f"{name} = (\n" + "\n".join(f'    "{line} "' for line in lines) + "\n)")
    lines = textwrap.wrap(" ".join(f"{runs_} ;" for runs_ in scripts().values()), 112)
    out.append("SCRIPTS = (\n" + "\n".join(f'    "{line} "' for line in lines) + "\n)")
    TARGET.write_text("\n\n".join(out) + "\n")


if __name__ == "__main__":
    main()
