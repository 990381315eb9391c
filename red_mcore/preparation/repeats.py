"""Problems that are there twice, word by word or nearly so.

Exact repeats are those of ``red_mcore.data.duplicates``. Two problems are near duplicates where
they name the same numbers and the Jaccard similarity of their pairs of neighbouring words is high:
another number makes another problem, however alike the words are. MinHash with locality-sensitive
hashing (Broder 1997; datasketch) proposes pairs, which are then compared exactly: its chance can
miss a pair, but never drop a problem.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from datasketch import MinHash, MinHashLSH

from red_mcore.preparation.words import Words, numbers, words

PERMUTATIONS = 128
SLACK = 0.2
"""How far below the similarity wanted candidates are looked for: at the threshold itself the hashes
would miss about half of the pairs."""
SEED = 1


class Alike(NamedTuple):
    """An earlier problem that a problem is like."""

    place: int
    similarity: float
    same_numbers: bool


class Near:
    """Problems that were added, by what they are like."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._hashes = MinHashLSH(max(0.1, threshold - SLACK), PERMUTATIONS)
        self._first = MinHash(PERMUTATIONS, seed=SEED)
        self._added: dict[int, tuple[frozenset[str], list[str]]] = {}

    def find(self, text: str) -> tuple[list[Alike], _Key]:
        """The added problems that are as similar to ``text`` as wanted, best first, those of the
        same numbers before others; and the key by which to add it."""
        key = self._key(text)
        found = []
        for place in self._hashes.query(key.hashes):
            pairs, their_numbers = self._added[place]
            similarity = len(pairs & key.pairs) / len(pairs | key.pairs)
            if similarity >= self._threshold:
                found.append(Alike(place, similarity, their_numbers == key.numbers))
        # The hashes give them in no order.
        return sorted(found, key=lambda one: (-one.same_numbers, -one.similarity, one.place)), key

    def add(self, place: int, key: _Key) -> None:
        """Later problems are compared with this one, too."""
        self._added[place] = key.pairs, key.numbers
        self._hashes.insert(place, key.hashes, check_duplication=False)

    def _key(self, text: str) -> _Key:
        found = words(text)
        pairs = _pairs(found)
        hashes = self._first.copy()
        hashes.update_batch([pair.encode() for pair in sorted(pairs)])
        return _Key(pairs, numbers(found), hashes)


class _Key(NamedTuple):
    pairs: frozenset[str]
    numbers: list[str]
    hashes: MinHash


def _pairs(found: Words) -> frozenset[str]:
    """The pairs of neighbours; the words themselves where there is one or none."""
    if len(found) < 2:
        return frozenset(found or [""])
    return frozenset(f"{one} {other}" for one, other in pairwise(found))
