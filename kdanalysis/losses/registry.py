"""The registry of losses: a loss that is defined is known to the grammar, to reprs and to figures.

``Loss`` enters its subclasses when Python defines them, those of other packages and of notebooks
too. ``text`` reads losses by what stands here, and figures take colours and roles of terms.
"""

import ast
import re
from collections.abc import Mapping
from inspect import signature
from typing import Any

NAME, PREFIX = re.compile(r"[a-z][a-z0-9_]*"), re.compile(r"[a-z][a-z0-9_]*-")
PRESET = re.compile(r"[a-z][a-z0-9_]*(-[a-z0-9_]+)*")

KINDS: dict[str, Any] = {}  # every class of losses by its own name, which a repr begins with


def register(kind: Any) -> None:
    """Enter a class of losses; one defined anew in the same module takes the place of the old.

    Raises:
        ValueError: its class name, its name or a prefix belongs to another loss, or is none, or
            one of its terms has another colour already.
    """
    others = [one for one in KINDS.values() if one.__name__ != kind.__name__]
    same = KINDS.get(kind.__name__, kind)
    if same.__module__ != kind.__module__:
        raise ValueError(
            f"there is a loss {kind.__name__} in {same.__module__}, and a repr could not tell them "
            f"apart: give yours another class name"
        )
    forms = {kind.name: NAME} | dict.fromkeys(kind.prefixes, PREFIX)
    for text, form in (forms | dict.fromkeys(kind.presets, PRESET)).items():
        owner = next((o.__name__ for o in others if text and text in _texts(o)), None)
        if owner:
            raise ValueError(f"{text!r} names the loss {owner} already: call {kind.__name__} else")
        if text != "" and not form.fullmatch(text):
            raise ValueError(
                f"{text!r} cannot name a loss: a name is of small letters, digits and _, such as "
                f"'gdkd3', a prefix ends with -, such as 'sdd-'"
            )
    known = colours_of(others)
    for term, colour in kind.colours.items():
        if known.get(term, colour) != colour:
            raise ValueError(
                f"the term {term!r} is {known[term]} in all figures, {kind.__name__} makes it "
                f"{colour}: a term has one colour"
            )
    KINDS[kind.__name__] = kind


def named() -> dict[str, Any]:
    """Return the losses that text can name, by that name."""
    return {kind.name: kind for kind in KINDS.values() if kind.name}


def preset() -> dict[str, tuple[Any, Mapping[str, object]]]:
    """Return the losses that stand under another name, each with the options it begins with."""
    return {text: (kind, fixed) for kind in KINDS.values() for text, fixed in kind.presets.items()}


def _texts(kind: Any) -> tuple[str, ...]:
    return kind.name, *kind.prefixes, *kind.presets


def prefixed() -> dict[str, tuple[Any, Mapping[str, object]]]:
    """Return the losses around others by prefix, each with the arguments that it stands for."""
    return {text: (kind, fixed) for kind in KINDS.values() for text, fixed in kind.prefixes.items()}


def colours_of(kinds: Any) -> dict[str, str]:
    """Return the colour of every term that some of the losses give one."""
    return {term: colour for kind in kinds for term, colour in kind.colours.items()}


def term_colour_of(term: str) -> str | None:
    """Return the colour of a term, also as ``loss:term``; None where no loss gives it one.

    It is a name of the palette of figures (grey, orange, sky, green, blue, vermilion, purple,
    olive, wine) or any colour of matplotlib.
    """
    return colours_of(KINDS.values()).get(term.rsplit(":", 1)[-1])


def non_top_terms() -> tuple[str, ...]:
    """Return the terms that teach the relations among the classes that are not the top ones."""
    return tuple(dict.fromkeys(term for kind in KINDS.values() for term in kind.non_top))


def called(loss: Any) -> str:
    """Return what to call a loss: its name, and those of its options that are not the usual ones.

    ``gdkd:k=3,weights=1/2/0.5`` for ``GDKD(k=3, weights=(1, 2, 0.5))``.
    """
    call, usual = ast.parse(repr(loss), mode="eval").body, signature(type(loss)).parameters
    options = [ast.unparse(one) for one in call.args]
    for option in call.keywords:
        value = _value(option.value)
        if value != usual[option.arg].default:
            several = value if isinstance(value, tuple) else (value,)
            parts = (f"{one:g}" if isinstance(one, float) else str(one) for one in several)
            options.append(f"{option.arg}={'/'.join(parts)}")
    return ":".join([loss.name or type(loss).__name__, ",".join(options)]).removesuffix(":")


def _value(node: ast.expr) -> Any:
    """Return what an expression says; the text of a loss or a rule."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)
