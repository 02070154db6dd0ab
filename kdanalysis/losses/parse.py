"""Losses written as text: ``gdkd:k=5,temperature=4``, as the command line takes them."""

from collections.abc import Iterable
from difflib import get_close_matches
from inspect import signature

from kdanalysis.losses.base import Loss
from kdanalysis.losses.compose import LogitStandardized, Sum
from kdanalysis.losses.decoupled import DKD, GDKD, GDKD3
from kdanalysis.losses.nkd import NKD
from kdanalysis.losses.plain import KD, CrossEntropy

_LOSSES = {"ce": CrossEntropy, "kd": KD, "dkd": DKD, "gdkd": GDKD, "gdkd3": GDKD3, "nkd": NKD}
_STANDARDIZED = "ls-"


def parse_loss(text: str, temperature: float | int | None = None) -> Loss:
    """Read a loss from ``name:key=value,key=value``; ``+`` between several adds them up.

    Names: ce, kd, dkd, gdkd, gdkd3, nkd, each also behind ``ls-`` for standardised logits. The
    keys are the constructor's arguments; several numbers are separated by ``/``. A loss that has a
    temperature and names none takes ``temperature`` where that is given.

    >>> parse_loss("gdkd:k=3,weights=1/2/8")
    GDKD(k=3, weights=(1.0, 2.0, 8.0), temperature=4.0, strategy='best', divergence='forward')
    >>> parse_loss("ce+ls-kd:temperature=2").terms
    ('ce', 'kd')

    Raises:
        ValueError: an unknown name or key (the nearest valid one is named), or a bad value.
    """
    losses = [_parse_one(part.strip(), temperature) for part in text.split("+")]
    return losses[0] if len(losses) == 1 else Sum(*losses)


def _parse_one(text: str, temperature: float | int | None) -> Loss:
    name, _, options = text.partition(":")
    plain = name.lower().removeprefix(_STANDARDIZED)
    if plain not in _LOSSES:
        raise ValueError(f"unknown loss {name!r}{_nearest(plain, _LOSSES)}")
    loss = _build(plain, options, temperature)
    return LogitStandardized(loss) if name.lower().startswith(_STANDARDIZED) else loss


def _build(name: str, options: str, temperature: float | int | None) -> Loss:
    valid = signature(_LOSSES[name]).parameters
    arguments = {}
    for option in filter(None, options.split(",")):
        key, equals, value = (piece.strip() for piece in option.partition("="))
        if key not in valid:
            listed = "" if equals else " (several numbers are written 1/2/8)"
            raise ValueError(f"loss {name!r} has no option {key!r}{listed}{_nearest(key, valid)}")
        if key in arguments:
            raise ValueError(f"option {key!r} of loss {name!r} is given twice")
        if not equals or not value:
            raise ValueError(f"option {key!r} of loss {name!r} needs a value: {key}=...")
        arguments[key] = _read(f"{name}:{key}", value, valid[key].default)
    if temperature is not None and "temperature" in valid:
        arguments.setdefault("temperature", temperature)
    return _LOSSES[name](**arguments)


def _read(where: str, text: str, default: object) -> object:
    """Read a value of the default's type; a k may be a number or the word auto."""
    try:
        if isinstance(default, bool):
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if isinstance(default, tuple):
            return tuple(float(number) for number in text.split("/"))
        if isinstance(default, int):
            return text.lower() if where == "gdkd:k" and text.lower() == "auto" else int(text)
        return float(text) if isinstance(default, float) else text
    except (KeyError, ValueError):
        raise ValueError(f"{where}={text} is not of the kind of its default {default}") from None


def _nearest(name: str, valid: Iterable[str]) -> str:
    close = get_close_matches(name, valid, n=1, cutoff=0.5)
    known = ", ".join(valid)
    return f"; did you mean {close[0]!r}? (known: {known})" if close else f"; known: {known}"
