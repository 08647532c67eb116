"""A text on its way through normalizers and pre-tokenizers that remembers where each of its characters comes from.

The rules by which a changed text keeps its places are those of tokenizers' NormalizedString: a replaced character has
the place of the one it replaces, an inserted one that of the character before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

__all__ = ["Aligned", "Place"]

Place = tuple[int, int]
"""Where a character comes from: the bytes [start, stop) of the stretch of input."""


class Aligned:
    """A text and, where places are wanted, one for each character.

    places  None where nobody asked
    start   where in the input the text begins, in bytes; kept where nobody asked for places too, since
            `Metaspace(prepend_scheme="first")` depends on it
    """

    __slots__ = ("places", "start", "text")

    def __init__(self, text: str, places: list[Place] | None, start: int) -> None:
        self.text = text
        self.places = places
        self.start = start

    def replace_all(self, new: Iterable[tuple[str, int]], removed: int = 0) -> None:
        """Makes the text of characters, each with the number of old ones that it stands for, less one.

        0 is a replaced character, 1 an inserted one, and -n one that also stands for the n characters after it.
        `removed` characters at the beginning stand for nothing.
        """
        new = list(new)
        if self.places is not None:
            places: list[Place] = []
            at = removed
            for _, change in new:
                if change > 0:
                    places.append(self.places[at - 1] if at else (self.start, self.start))
                else:
                    places.append(self.places[at])
                    at += 1 - change
            self.places = places
        self.text = "".join([c for c, _ in new])

    def filter(self, keep: Callable[[str], bool]) -> None:
        """Removes characters."""
        kept = [i for i, c in enumerate(self.text) if keep(c)]
        if len(kept) < len(self.text):
            if self.places is not None:
                self.places = [self.places[i] for i in kept]
            self.text = "".join([self.text[i] for i in kept])

    def map(self, function: Callable[[str], str]) -> None:
        """Replaces every character by one or more."""
        new = list(map(function, self.text))
        if self.places is not None:
            self.places = [place for s, place in zip(new, self.places, strict=True) for _ in s]
        self.text = "".join(new)

    def prepend(self, string: str) -> None:
        """Puts a string before a text that is not empty: it has the place of the first character."""
        if self.text:
            if self.places is not None:
                self.places = [self.places[0]] * len(string) + self.places
            self.text = string + self.text

    def substitute(self, matches: Iterable[tuple[int, int]], content: str) -> None:
        """Replaces the stretches [start, stop): what is put there has the place of the character before `stop`."""
        texts: list[str] = []
        places: list[Place] = []
        done = 0
        for start, stop in matches:
            texts += (self.text[done:start], content)
            if self.places is not None:
                before = self.places[stop - 1] if stop else (self.start, self.start)
                places += self.places[done:start] + [before] * len(content)
            done = stop
        if done or texts:
            self.text = "".join([*texts, self.text[done:]])
            if self.places is not None:
                self.places = places + self.places[done:]

    def cut(self, start: int, stop: int) -> Aligned:
        """The characters [start, stop)."""
        if self.places is None:
            # Only whether a piece begins the input is asked for then.
            return Aligned(self.text[start:stop], None, self.start + start)
        places = self.places[start:stop]
        return Aligned(self.text[start:stop], places, places[0][0] if places else self.start)

    def byte_places(self) -> list[Place] | None:
        """The place of each byte of the text's UTF-8."""
        if self.places is None or self.text.isascii():
            return self.places
        return [place for c, place in zip(self.text, self.places, strict=True) for _ in range(len(c.encode()))]
