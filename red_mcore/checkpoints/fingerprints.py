"""Digests that tell whether what a run is made of is still the same: problems, tokenizer, model,
classes, users' code.

All are JSON-able and small, and keep enough beside the digests to name what has changed. No torch.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.machinery
import inspect
import json
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

from red_mcore.config.recipe import Model
from red_mcore.config.tree import sections
from red_mcore.models.architecture import hf_config
from red_mcore.samples.records import Problem

SHOWN = 60
"""Characters of a text that are kept to be shown."""
_BLOCKS, _BLOCK_BYTES = 64, 1 << 14
"""What is read of a file of weights: so many blocks, spread evenly."""
_CONFIG_OF_FILES = frozenset({"transformers_version", "_name_or_path", "dtype", "torch_dtype"})
"""Fields of config.json that say how the file was written; the type of the weights is
``model.dtype``'s business."""
_OF_TOKENIZERS = (".json", ".jinja", ".txt", ".model", ".tiktoken")


def digest(content: str | bytes) -> str:
    """16 hexadecimal digits."""
    if isinstance(content, str):
        content = content.encode(errors="surrogatepass")
    return hashlib.sha256(content).hexdigest()[:16]


def of_problems(problems: Iterable[Problem]) -> list[list[Any]]:
    """What is known of each problem: id, kind, digests of text, gold and chosen trace (None
    without), and the beginning of the text; then, of one that has columns for reward functions, a
    digest of these, and of one that has several traces, in a list of its own, a digest of each with
    all that is known of it."""
    return [_of_problem(problem) for problem in problems]


def _of_problem(p: Problem) -> list[Any]:
    row: list[Any] = [p.id, p.kind, digest(p.text), digest(p.gold), None, p.text[:SHOWN]]
    if p.trace is not None:
        row[4] = digest(p.trace)
    if p.columns is not None:
        row.append(digest(json.dumps(p.columns, sort_keys=True)))
    if p.traces:
        row.append([digest(json.dumps(astuple(trace))) for trace in p.traces])
    return row


def of_tokenizer(tokenizer: Any) -> dict[str, Any]:
    """What a tokenizer is, as it is loaded: number of tokens, special tokens, chat template, and a
    digest of all else."""
    if (core := getattr(tokenizer, "backend_tokenizer", None)) is not None:
        text = core.to_str()
    else:
        text = json.dumps(sorted(tokenizer.get_vocab().items()))
    special = sorted(tokenizer.special_tokens_map.items())
    return {
        "tokens": len(tokenizer),
        "special": {name: _plain(value) for name, value in special},
        "template": tokenizer.chat_template,
        "backend": digest(f"{text} {getattr(tokenizer, 'clean_up_tokenization_spaces', None)}"),
    }


def of_model(model: Model) -> dict[str, Any]:
    """The resolved configuration, and size and digest of each file of weights in the folder; none
    of a fresh model."""
    config = {key: value for key, value in hf_config(model).items() if key not in _CONFIG_OF_FILES}
    weights: dict[str, list[Any]] = {}
    if model.path is not None:
        folder = Path(model.path)
        files = sorted([*folder.glob("*.safetensors"), *folder.glob("weights/*.distcp")])
        for file in files:
            weights[str(file.relative_to(folder))] = [file.stat().st_size, _sampled(file)]
    return {"config": config, "weights": weights}


def of_classes(value: Any, name: str) -> dict[str, dict[str, Any]]:
    """The class of a dataclass and of all that are nested in it, by field: its name and, if it is a
    user's, its code.

    Two classes may have equal fields and do different things with them.
    """
    found = {}
    for part, section in sections(value, name):
        kind = type(section)
        found[part] = {"class": kind.__qualname__, "code": _code_of(kind)}
    return found


def of_functions(paths: Iterable[str]) -> dict[str, str | None]:
    """Digest of the module of each ``package.module:function``, which is not imported; None where
    it is not found.

    Comments and layout do not count. What the module imports does not, either.
    """
    return {path: _module_code(path.partition(":")[0]) for path in paths}


def of_files(
    path: str | Path | None, suffixes: Sequence[str] | None = None
) -> dict[str, list[int]]:
    """Size and time of change (ns) of a file, or of all in a folder with one of ``suffixes``; {}
    where it is neither.

    Where they are equal, a start need not read the content to believe that it is, too.
    """
    if path is None or not Path(path).exists():
        return {}
    root, found = Path(path), {}
    for file in (root, *sorted(root.rglob("*"))):
        if file.is_file() and (suffixes is None or file.suffix in suffixes):
            about = file.stat()
            found[str(file)] = [about.st_size, about.st_mtime_ns]
    return found


def of_tokenizer_files(model: Model) -> dict[str, list[int]]:
    """``of_files`` of what a tokenizer and its chat template may be made of."""
    return of_files(model.path, _OF_TOKENIZERS) | of_files(model.chat_template)


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)


def _sampled(file: Path) -> str:
    """Digest of evenly spread blocks, the first and the last among them: training changes nearly
    every number, and a model of many gigabytes is told from another in a second."""
    size = file.stat().st_size
    last = max(0, size - _BLOCK_BYTES)
    found = hashlib.sha256(str(size).encode())
    with file.open("rb") as stream:
        for i in range(_BLOCKS):
            stream.seek(last * i // (_BLOCKS - 1))
            found.update(stream.read(_BLOCK_BYTES))
    return found.hexdigest()[:16]


def _code_of(kind: type) -> str | None:
    """Digest of the source of a class and of its bases, those of this package left out; None if
    there are no others."""
    sources = []
    for one in kind.__mro__[:-1]:  # the last one is ``object``
        if one.__module__.partition(".")[0] == "red_mcore":
            continue
        try:
            sources.append(_without_comments(textwrap.dedent(inspect.getsource(one))))
        except (OSError, TypeError, SyntaxError):  # made at run time: its name is all there is
            sources.append(one.__qualname__)
    if not sources:
        return None
    return digest("\n".join(sources))


def _module_code(name: str) -> str | None:
    place, parts = None, name.split(".")
    for i in range(len(parts)):
        spec = importlib.machinery.PathFinder.find_spec(".".join(parts[: i + 1]), place)
        if spec is None:
            return None
        place = spec.submodule_search_locations
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return None
    try:
        return digest(_without_comments(Path(spec.origin).read_text(encoding="utf-8")))
    except (OSError, SyntaxError, UnicodeDecodeError):  # whoever imports it will say what is wrong
        return None


def _without_comments(source: str) -> str:
    return ast.unparse(ast.parse(source))
