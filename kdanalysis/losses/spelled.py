"""Losses spelled as text reads them: ``dkd:alpha=1,beta=8``, the other way round than ``text``."""

import ast
from inspect import signature
from typing import Any

from kdanalysis.losses.base import Loss
from kdanalysis.losses.registry import KINDS, prefixed
from kdanalysis.losses.text import parse_loss, restore_loss


def spelled(loss: Loss | str) -> str:
    """Write a loss, or its repr, with its options, as :func:`parse_loss` takes it.

    Left out are a weight of 1 and what is None.
    A repr comes back as it is where text does not say what it says: of losses without a name,
    as block-wise ones are, of those that are not known here, and where an option is an object.

    >>> spelled("Sum(CrossEntropy(weight=1.0), KD(temperature=4.0, weight=0.5))")
    'ce + kd:temperature=4,weight=0.5'
    >>> spelled("Mine(weight=2.0)")
    'Mine(weight=2.0)'
    """
    given = loss if isinstance(loss, str) else repr(loss)
    try:
        whole = repr(restore_loss(given))
        call = ast.parse(whole, mode="eval").body
        parts = call.args if _class_of(call) == "Sum" else [call]
        text = " + ".join(_written(part) for part in parts)
        return text if repr(parse_loss(text)) == whole else given
    except (AttributeError, KeyError, SyntaxError, TypeError, ValueError):
        return given


def _class_of(node: Any) -> str:
    return node.func.id


def _written(call: Any) -> str:
    """Write one loss, those around it as prefixes."""
    kind = KINDS[_class_of(call)]
    given = dict(zip(signature(kind).parameters, call.args, strict=False))
    given |= {option.arg: option.value for option in call.keywords}
    inner = given.pop(next(iter(signature(kind).parameters)), None) if kind.prefixes else None
    values = {name: _read(node) for name, node in given.items()}
    values = {name: one for name, one in values.items() if one is not None}
    if values.get("weight") == 1:
        del values["weight"]
    if inner is not None:
        prefix, fixed = next(
            (prefix, fixed)
            for prefix, (of, fixed) in prefixed().items()
            if of is kind and fixed.items() <= values.items()
        )
        name, _, options = _written(inner).partition(":")
        own = [f"{key}={_value(one)}" for key, one in values.items() if key not in fixed]
        return f"{prefix}{name}:{','.join(filter(None, (options, *own)))}".removesuffix(":")
    options = [f"{key}={_value(one)}" for key, one in values.items()]
    return f"{kind.name}:{','.join(options)}".removesuffix(":")


def _read(node: Any) -> Any:
    """Read an option's value; a number of classes that is chosen by the teacher is "auto"."""
    return "auto" if isinstance(node, ast.Call) else ast.literal_eval(node)


def _value(value: Any) -> str:
    """Write an option's value; several numbers between slashes."""
    if isinstance(value, tuple):
        return "/".join(map(_value, value))
    if isinstance(value, bool):
        return str(value).lower()
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)
