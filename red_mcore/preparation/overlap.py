"""What a text has in common with benchmark problems: shares of their n-grams of words.

One n-gram in common says little: "can be written as m/n, where m and n are relatively prime
positive integers" ends hundreds of problems. So what counts is the share of a benchmark problem's
n-grams that are in the text. A problem of fewer than n words is one n-gram of its own length; one
of fewer than ``SHORTEST`` words is found only where it is the whole text.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from red_mcore.config.recipe import RecipeError
from red_mcore.data import files
from red_mcore.evaluation import benchmarks
from red_mcore.preparation.repeats import Near
from red_mcore.preparation.settings import SIZES, Rules, files_name
from red_mcore.preparation.words import Words, numbers, words

SHORTEST = min(SIZES)
SHOWN = 50
"""The hits of a benchmark that the manifest lists; the whole list is in the file of drops."""

Gram = tuple[str, ...]


class Item(NamedTuple):
    """One benchmark problem."""

    benchmark: str
    number: int
    """Its place in the file, from 1."""
    text: str


class Hit(NamedTuple):
    """What a text has of a benchmark problem."""

    item: Item
    shares: dict[int, float]
    """The share of the problem's n-grams that are in the text, by n of SIZES."""
    same_numbers: bool
    """Whether the text names the same numbers: where not, it is rather of the same kind."""
    similarity: float = 0.0
    """Of near duplicates, as ``repeats`` has it; 0 where they are none."""

    def told(self) -> dict[str, Any]:
        """The hit as the manifest and lineages have it."""
        shares = {f"share_{n}": round(share, 4) for n, share in self.shares.items()}
        return {
            "benchmark": self.item.benchmark,
            "item": self.item.number,
            **shares,
            "similarity": round(self.similarity, 4),
            "same_numbers": self.same_numbers,
        }


@dataclass
class Seen:
    """What was found of one benchmark in all problems."""

    problems: int
    sha256: str
    rows: Counter[int] = field(default_factory=Counter)
    """Rows that have at least one n-gram of it, by n."""
    items: dict[int, set[int]] = field(default_factory=lambda: {n: set() for n in SIZES})
    """Numbers of its problems of which some row has an n-gram, by n."""
    dropped: set[int] = field(default_factory=set)
    """Numbers of its problems of which some row has too much."""
    hits: list[dict[str, Any]] = field(default_factory=list)
    traces: int = 0
    """Traces that have too much of one of its problems."""


class Index:
    """The n-grams of benchmark problems. Texts are looked at one by one, in any number."""

    def __init__(self, items: Sequence[Item], rules: Rules) -> None:
        self.items = list(items)
        self._rules = rules
        self._words = [words(item.text) for item in items]
        self._sizes = {n: [0] * len(items) for n in SIZES}
        """The number of different n-grams of each problem, by n."""
        # All n-grams of SHORTEST words and more stand under their first SHORTEST words, so that a
        # long trace costs one look-up at each of its words, however many lengths there are.
        self._heads: dict[Gram, dict[Gram, list[tuple[int, int]]]] = defaultdict(
            lambda: defaultdict(list)
        )
        self._whole: dict[Gram, list[int]] = defaultdict(list)
        self._near = Near(rules.near) if rules.near is not None else None
        for place, text in enumerate(self._words):
            if self._near is not None:
                self._near.add(place, self._near.find(items[place].text)[1])
            self._whole[tuple(text)].append(place)
            for n in SIZES:
                grams = _grams(text, n)
                self._sizes[n][place] = len(grams)
                for gram in grams:
                    if len(gram) >= SHORTEST:
                        self._heads[gram[:SHORTEST]][gram].append((n, place))

    def of_problem(self, text: str) -> list[Hit]:
        """The benchmark problems that a problem has an n-gram of or is a near duplicate of, the
        likest first."""
        found = {hit.item: hit for hit in self.hits(text)}
        alike = self._near.find(text)[0] if self._near is not None else []
        for one in alike:
            if one.same_numbers:
                item = self.items[one.place]
                hit = found.get(item, Hit(item, dict.fromkeys(SIZES, 0.0), True))
                found[item] = hit._replace(similarity=one.similarity)
        return sorted(
            found.values(), key=lambda hit: (not self.is_too_much(hit), -self._share(hit))
        )

    def hits(self, text: str) -> list[Hit]:
        """The benchmark problems of which ``text`` has an n-gram, those of which it has most
        first."""
        found = words(text)
        counts = self._counts(found)
        mine = numbers(found)
        hits = []
        for place in sorted({place for _, place in counts}):
            shares = {n: counts[n, place] / self._sizes[n][place] for n in SIZES}
            same = numbers(self._words[place]) == mine
            hits.append(Hit(self.items[place], shares, same))
        return sorted(hits, key=self._share, reverse=True)

    def is_too_much(self, hit: Hit) -> bool:
        """Whether a text is left out for it."""
        return hit.similarity > 0 or self._share(hit) >= self._rules.overlap_share

    def _share(self, hit: Hit) -> float:
        return hit.shares[self._rules.overlap_words]

    def _counts(self, found: Words) -> Counter[tuple[int, int]]:
        """How many different n-grams of each problem are in the words, by (n, problem)."""
        counts: Counter[tuple[int, int]] = Counter()
        seen: set[Gram] = set()
        for start in range(len(found) - SHORTEST + 1):
            grams = self._heads.get(tuple(found[start : start + SHORTEST]))
            if grams is None:
                continue
            for size in {len(gram) for gram in grams}:
                gram = tuple(found[start : start + size])
                if gram in grams and gram not in seen:
                    seen.add(gram)
                    counts.update(grams[gram])
        if len(found) < SHORTEST:
            for place in self._whole.get(tuple(found), ()):
                counts.update({(n, place): 1 for n in SIZES})
        return counts


def _grams(text: Words, n: int) -> set[Gram]:
    """The different n-grams; the whole text where it is shorter."""
    if len(text) <= n:
        return {tuple(text)}
    return {tuple(text[start : start + n]) for start in range(len(text) - n + 1)}


def load(rules: Rules, hashes: Mapping[str, str]) -> tuple[Index, dict[str, Seen]]:
    """The index of all benchmark files, and what is to be found of each.

    ``hashes``: sha256 of each file of ``benchmark_files``. RecipeError naming file and row for
    what cannot be read.
    """
    items: list[Item] = []
    seen: dict[str, Seen] = {}
    for file in benchmark_files(rules.benchmarks):
        name = files_name(str(file))
        if name in seen:
            raise RecipeError(f"--benchmarks: two files are called {name}: rename one")
        problems = benchmarks.load(name, str(file.parent), seed=0)
        items += [Item(name, number, one.text) for number, one in enumerate(problems, start=1)]
        seen[name] = Seen(len(problems), hashes[str(file)])
    return Index(items, rules), seen


def benchmark_files(places: Sequence[str]) -> list[Path]:
    """The files that ``--benchmarks`` names, in order. RecipeError where there are none."""
    found: list[Path] = []
    for place in places:
        path = Path(place)
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if files.suffix(file))
        else:
            inside = [path] if path.is_file() and files.suffix(path) else []
        if not inside:
            known = ", ".join(files.SUFFIXES)
            raise RecipeError(f"--benchmarks {place}: no file of benchmarks is there ({known})")
        found += inside
    return found


def note(seen: Mapping[str, Seen], index: Index, hits: Sequence[Hit], where: str) -> None:
    """Count the hits of one row's problem."""
    rows: set[tuple[str, int]] = set()
    for hit in hits:
        one = seen[hit.item.benchmark]
        for n in SIZES:
            if hit.shares[n] > 0:
                one.items[n].add(hit.item.number)
                rows.add((hit.item.benchmark, n))
        if index.is_too_much(hit):
            one.dropped.add(hit.item.number)
            one.hits.append({"row": where, **hit.told()})
    for name, n in rows:
        seen[name].rows[n] += 1


def report(seen: Mapping[str, Seen]) -> dict[str, dict[str, Any]]:
    """What the manifest says of each benchmark."""
    found = {}
    for name, one in seen.items():
        ranked = sorted(one.hits, key=lambda hit: (-hit["share_13"], -hit["share_8"], hit["row"]))
        found[name] = {
            "problems": one.problems,
            "sha256": one.sha256,
            **{
                f"shared_{n}_gram": {"rows": one.rows[n], "problems": len(one.items[n])}
                for n in SIZES
            },
            "overlap": {
                "rows": len({hit["row"] for hit in one.hits}),
                "problems": len(one.dropped),
                "traces": one.traces,
                "rows_with_the_same_numbers": len(
                    {hit["row"] for hit in one.hits if hit["same_numbers"]}
                ),
                "hits": ranked[:SHOWN],
            },
        }
    return found
