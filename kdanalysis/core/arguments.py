"""Arguments are what their annotations say: one check for everything at the public door.

``typed`` goes before a function or a class. A whole number is never True, "4" is no number, NaN and
inf are none, a text is no list of its letters, and a dict none of its keys. What fits is handed on
as plain Python: a numpy scalar, a 0-d array or tensor as an int or a float, numbers and texts that
can be read once as a tuple. Which numbers and which texts is for the function itself to say.

Nothing here loads torch, so that ``store`` and ``draw`` may use it too.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial, wraps
from inspect import BoundArguments, Parameter, signature
from math import isfinite
from operator import index
from os import PathLike
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, SupportsFloat, SupportsIndex, TypeVar, Union, get_args, get_origin, overload
from typing import get_type_hints as hints_of

from kdanalysis.core.wording import told, words

Made = TypeVar("Made", bound=Callable[..., Any])
WHOLE, REAL = (int, SupportsIndex), (float, SupportsFloat)
TEXTS = (str, bytes, bytearray)
SEVERAL = (Iterable, Iterator, Sequence, tuple, list)


class Unfit(ValueError):
    """A value that is not what is needed, and where in an argument it stands."""

    def __init__(self, value: object, hint: Any) -> None:
        super().__init__(value, hint)
        self.value, self.needed, self.place = value, words(hint), ""


@overload
def typed(made: Made) -> Made: ...
@overload
def typed(*, advice: Mapping[str, str]) -> Callable[[Made], Made]: ...
def typed(made: Any = None, *, advice: Mapping[str, str] | None = None) -> Any:
    """Let a function, or a class as it is made, take what its annotations say and nothing else.

    Args:
        made: the function or the class.
        advice: what to do instead, by argument; it ends the message.

    Raises:
        ValueError: when called with something else: it names the argument, what is needed and what
            was given.
    """
    if made is None:
        return partial(typed, advice=advice)
    advice = advice or {}
    if not isinstance(made, type):
        return _checked(made, advice)
    how = "__new__" if issubclass(made, tuple) else "__init__"
    setattr(made, how, _checked(getattr(made, how), advice, of_class=True))
    return made


def _checked(
    function: Callable[..., Any], advice: Mapping[str, str], of_class: bool = False
) -> Callable[..., Any]:
    """Return the function with its check; of a class errors name the one that is made."""
    form = signature(function)

    @cache
    def hints() -> dict[str, Any]:
        with suppress(NameError):  # of a type that is only there for type checkers
            return hints_of(function)
        return {}

    @wraps(function)
    def checked(*given: Any, **named: Any) -> Any:
        try:
            bound = form.bind(*given, **named)
        except TypeError:
            return function(*given, **named)  # for Python's own words
        made = given[0] if of_class else function
        name = getattr(made, "__name__", type(made).__name__)
        _fit_all(name, bound, hints(), advice)
        return function(*bound.args, **bound.kwargs)

    return checked


def _fit_all(
    name: str, bound: BoundArguments, hints: Mapping[str, Any], advice: Mapping[str, str]
) -> None:
    for argument, value in bound.arguments.items():
        hint, kind = hints.get(argument, Any), bound.signature.parameters[argument].kind
        if kind is Parameter.VAR_POSITIONAL:
            hint = tuple[hint, ...]
        elif kind is Parameter.VAR_KEYWORD:
            hint = Mapping[str, hint]
        bound.arguments[argument] = fitted(
            f"{name}: {argument}", value, hint, advice.get(argument, "")
        )


def fitted(name: str, value: Any, hint: Any, advice: str = "") -> Any:
    """Return a value as its annotation has it; a ValueError that says what ``name`` needs."""
    try:
        return fit(value, hint)
    except Unfit as unfit:
        raise ValueError(
            f"{name}{unfit.place} must be {unfit.needed}, got {told(unfit.value)}{advice}"
        ) from None


def fit(value: Any, hint: Any) -> Any:
    """Return a value as its annotation has it.

    Raises:
        Unfit: it is something else.
    """
    origin, inner = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, UnionType):
        return _fit_one_of(value, hint, inner)
    if origin in WHOLE or origin in REAL:
        return _number(value, hint)
    if origin in (Mapping, dict):
        return _fit_mapping(value, hint, inner)
    if origin in SEVERAL:
        return _fit_several(value, hint, inner)
    if origin is Callable:
        fits = callable(value)
    elif origin is bool and _says_truth(value):
        return bool(_scalar(value, hint))
    else:
        kind = PathLike if origin is Path else origin
        fits = hint is Any or not isinstance(kind, type) or _is_one(value, kind)
    if not fits:
        raise Unfit(value, hint)
    return value


def _is_one(value: Any, kind: type) -> bool:
    try:
        return isinstance(value, kind)
    except TypeError:  # of what can only be told from reading the code, such as a Protocol
        return True


def _says_truth(value: Any) -> bool:
    return isinstance(value, bool) or "bool" in str(getattr(value, "dtype", ""))


def _scalar(value: Any, hint: Any) -> Any:
    if getattr(value, "ndim", 0) > 0:
        raise Unfit(value, hint)
    return value


def _number(value: Any, hint: Any) -> int | float:
    """A plain number: none of truth values and text, nor of what requires a gradient."""
    learns = getattr(value, "requires_grad", False)
    if not (learns or isinstance(value, TEXTS) or _says_truth(value)):
        with suppress(TypeError, ValueError, OverflowError, RuntimeError):
            scalar = _scalar(value, hint)
            found = index(scalar) if hint in WHOLE else float(scalar)
            if isfinite(found):
                return found
    raise Unfit(value, hint)


def _fit_one_of(value: Any, hint: Any, kinds: tuple) -> Any:
    """The first kind that fits, a whole number before any; else what one alone finds inside."""
    nearly = []
    for kind in sorted(kinds, key=lambda kind: kind in REAL):
        try:
            return fit(value, kind)
        except Unfit as unfit:
            nearly += [unfit] if unfit.place else []
    raise nearly[0] if len(nearly) == 1 else Unfit(value, hint)


def _fit_mapping(value: Any, hint: Any, inner: tuple) -> Any:
    if not isinstance(value, Mapping):
        raise Unfit(value, hint)
    of_key, of_value = inner or (Any, Any)
    found = {}
    for key, one in value.items():
        with _inside(f"'s key {told(key)}"):
            fit(key, of_key)
        with _inside(f"[{told(key)}]"):
            found[key] = fit(one, of_value)
    return value if all(found[key] is one for key, one in value.items()) else found


def _fit_several(value: Any, hint: Any, inner: tuple) -> Any:
    """Left as it is where nothing in it changes; a stream of anything but numbers and texts too."""
    if isinstance(value, (*TEXTS, Mapping)) or getattr(value, "ndim", 1) < 1:
        raise Unfit(value, hint)
    stream = not (isinstance(value, Sequence) or hasattr(value, "ndim"))
    origin, hints = get_origin(hint) or hint, inner or (Any,)
    if not isinstance(value, Iterable):
        raise Unfit(value, hint)
    if stream and origin in (Iterable, Iterator) and not _is_plain(hints[0]):
        return value
    found = list(value)
    if origin is tuple and hints[-1] is not Ellipsis:
        if len(found) != len(hints):
            raise Unfit(value, hint)
    else:
        hints = hints[:1] * len(found)
    fitted = []
    try:
        for one, of in zip(found, hints, strict=True):
            fitted.append(one if type(one) is int and of is int else fit(one, of))
    except Unfit as unfit:
        unfit.place = f"[{len(fitted)}]{unfit.place}"
        raise
    same = all(new is old for new, old in zip(fitted, found, strict=True))
    return value if same and isinstance(value, Sequence) else tuple(fitted)


def _is_plain(hint: Any) -> bool:
    return all(kind in (*WHOLE, *REAL, str, NoneType) for kind in get_args(hint) or (hint,))


def told_of_one(least: SupportsFloat, largest: SupportsFloat, classes: int) -> str:
    """Say of labels that are out of range that they seem to count from 1; nothing where not so."""
    seems = float(least) >= 1 and float(largest) == classes
    return "; these labels seem to count from 1: lower them by 1" if seems else ""


@contextmanager
def _inside(place: str) -> Iterator[None]:
    """Say of what is unfit in this block where it stands."""
    try:
        yield
    except Unfit as unfit:
        unfit.place = place + unfit.place
        raise
