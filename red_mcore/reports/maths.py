"""What a model wrote, with its LaTeX as MathML, which browsers show without any script.

The text is not to be trusted. latex2mathml hands on markup that stands in a formula
(``\\text{<script>}``), links and styles; so only its tree is used, and written here: known
elements, harmless attributes, everything else escaped.
"""

from __future__ import annotations

import html
import re
from functools import lru_cache
from xml.etree.ElementTree import Element

LONGEST = 4000
"""Characters of a formula. It also bounds how far an opening ``$`` looks for its end."""
FORMULAS = 2000
"""Formulas of a text; a model in a loop writes any number. Those beyond stay LaTeX."""
DEEPEST = 100
"""Elements within one another; browsers stop at 512."""

_OPEN = re.compile(
    r"\\\\|\\\$|\\\(|\\\[|\$\$?|\\boxed\s*\{|\\begin\{(align|gather|equation|multline)(\*?)\}"
)
_BRACE = re.compile(r"\\[\\{}]|[{}]")
_BOLD = re.compile(r"\*\*(?=\S)([^*\n]{1,200})\*\*")
_HEADING = re.compile(r"^#{1,6} (.{1,200})$", re.MULTILINE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_MACRO = re.compile(
    r"\\(?:(?:re)?newcommand|providecommand|[egx]?def|let|newenvironment)(?![a-zA-Z])"
)
"""Definitions can grow without bound, and no answer needs them."""
_TAGS = """
math mrow mi mn mo ms mtext mspace mfrac msqrt mroot mstyle mpadded mphantom msub msup msubsup
munder mover munderover mmultiscripts mprescripts none mtable mtr mtd
"""
_ELEMENTS = frozenset(_TAGS.split())
_HARMLESS = """
display displaystyle scriptlevel stretchy fence form accent accentunder linethickness minsize
maxsize movablelimits largeop symmetric separator lspace rspace width height depth voffset
"""
_ATTRIBUTES = frozenset(_HARMLESS.split())
_VALUE = re.compile(r"[a-z]{1,12}|[+-]?\d{0,2}(\.\d{1,6})?(em|ex|px|pt|mu|%)?")
"""Words and small lengths: ``\\hspace{999999em}`` is left out."""


def render(text: str) -> str:
    """HTML of ``text`` for an element of class ``prose``: formulas as MathML, the rest escaped
    (bold and headings as Markdown has them), newlines kept.

    Formulas stand in ``$ $``, ``$$ $$``, ``\\( \\)``, ``\\[ \\]``, ``\\boxed{}`` or an environment
    such as ``align``. One that is broken, too long or too deep is shown as it was written. Takes
    time in proportion to the text.
    """
    # Half of a surrogate pair cannot be written to a file.
    text = text.encode("utf-8", "replace").decode()
    braces = _matching_braces(text)
    done: list[str] = []
    place = formulas = 0
    while (opened := _OPEN.search(text, place)) is not None:
        done.append(_prose(text[place : opened.start()]))
        found = _formula_at(text, opened, braces) if formulas < FORMULAS else None
        if found is None:
            done.append(_plain("$" if opened.group() == "\\$" else opened.group()))
            place = opened.end()
            continue
        latex, display, place = found
        formulas += 1
        made = formula(latex, display) or f"<code>{_plain(text[opened.start() : place])}</code>"
        if display:  # a block has its own lines
            if done[-1].endswith("\n"):
                done[-1] = done[-1].rstrip(" \n")
            following = text[place : place + 2]
            place += len(following) - len(following.lstrip("\n"))
            made = f"<div class=display>{made}</div>"
        done.append(made)
    return "".join([*done, _prose(text[place:])])


@lru_cache(maxsize=4096)
def formula(latex: str, display: bool = False) -> str | None:
    """The <math> element of ``latex`` without its delimiters; None where it cannot be made."""
    from latex2mathml.converter import Converter

    if len(latex) > LONGEST or not latex.strip() or _MACRO.search(latex):
        return None
    try:
        tree = Converter(display="block" if display else "inline").convert_to_element(latex)
        return _written(tree, 0)
    except Exception:  # it raises all sorts on what is no LaTeX, RecursionError among them
        return None


def _formula_at(
    text: str, opened: re.Match, braces: dict[int, int]
) -> tuple[str, bool, int] | None:
    """(LaTeX, whether it has lines of its own, its end) of the formula that ``opened`` begins; None
    without an end."""
    mark, start = opened.group(), opened.end()
    if mark in ("\\\\", "\\$"):
        return None
    if mark.startswith("\\boxed"):
        end = braces.get(start - 1)
        if end is None or end - start > LONGEST:
            return None
        return f"\\boxed{{{text[start:end].replace('$', '')}}}", False, end + 1
    if mark.startswith("\\begin"):
        close = f"\\end{{{opened.group(1)}{opened.group(2)}}}"
        end = text.find(close, start, start + LONGEST)
        # Without the star each line would get a number.
        latex = f"\\begin{{align*}}{text[start:end]}\\end{{align*}}"
        return (latex, True, end + len(close)) if end >= 0 else None
    close = {"\\(": "\\)", "\\[": "\\]"}.get(mark, mark)
    end = text.find(close, start, start + LONGEST)
    while mark[0] == "$" and end > 0 and text[end - 1] == "\\":  # \$ is a dollar
        end = text.find(close, end + 1, start + LONGEST)
    if end < 0 or "\n\n" in text[start:end]:
        return None
    if mark == "$":
        # As pandoc has it: "$5 and $10" are prices.
        tight = end > start and not text[start].isspace() and not text[end - 1].isspace()
        if not tight or text[end + 1 : end + 2].isdigit():
            return None
    return text[start:end], mark in ("$$", "\\["), end + len(close)


def _matching_braces(text: str) -> dict[int, int]:
    """Where each brace that opens is closed."""
    opened: list[int] = []
    found: dict[int, int] = {}
    for match in _BRACE.finditer(text):
        if match.group() == "{":
            opened.append(match.start())
        elif match.group() == "}" and opened:
            found[opened.pop()] = match.start()
    return found


def _prose(text: str) -> str:
    """Escaped, with Markdown's bold and headings as far as no formula interrupts them."""
    return _HEADING.sub(r"<b>\1</b>", _BOLD.sub(r"<b>\1</b>", _plain(text)))


def _plain(text: str) -> str:
    return html.escape(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", text))


def _written(element: Element, depth: int) -> str:
    """The element as text; RecursionError where it is too deep."""
    if depth > DEEPEST:
        raise RecursionError(f"a formula of more than {DEEPEST} elements within one another")
    tag = element.tag if element.tag in _ELEMENTS else "mrow"
    attributes = ""
    for name, value in element.attrib.items():
        if name in _ATTRIBUTES and _VALUE.fullmatch(value):
            attributes += f' {name}="{value}"'
    if kind := _class(element):
        attributes += f' class="{kind}"'
    # latex2mathml writes symbols as references: &#x2264;
    content = _plain(html.unescape(element.text or ""))
    for child in element:
        content += _written(child, depth + 1)
    return f"<{tag}{attributes}>{content}</{tag}>"


def _class(element: Element) -> str | None:
    """The class that stands for a frame, a stroke or a column's alignment, left to style sheets."""
    if element.tag == "menclose":
        return "boxed" if "box" in element.get("notation", "") else "struck"
    align = element.get("columnalign")
    if align in ("left", "right"):
        return align
    return None
