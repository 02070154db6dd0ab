"""Losses written as text: ``gdkd:k=5,temperature=4``, as the command line takes them."""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import partial
from inspect import Parameter, signature

from kdanalysis.losses.base import Loss
from kdanalysis.losses.compose import LogitStandardized, Sum
from kdanalysis.losses.confident import Confident
from kdanalysis.losses.decoupled import DKD, GDKD, GDKD3
from kdanalysis.losses.nkd import NKD
from kdanalysis.losses.plain import KD, CrossEntropy
from kdanalysis.losses.scale import SDD

_LOSSES = {"ce": CrossEntropy, "kd": KD, "dkd": DKD, "gdkd": GDKD, "gdkd3": GDKD3, "nkd": NKD}
_STANDARDIZED = "ls-"
_AROUND = {
    "sdd-": SDD,
    "sure-": partial(Confident, side="sure"),
    "unsure-": partial(Confident, side="unsure"),
}
_NAMES = (*_LOSSES, *(f"sdd-{name}" for name in _LOSSES if name != "ce"))


def parse_loss(text: str, temperature: float | int | None = None) -> Loss:
    """Read a loss from ``name:key=value,key=value``; ``+`` between several adds them up.

    Names: ce, kd, dkd, gdkd, gdkd3, nkd, each also behind ``ls-`` for standardised logits, and
    then behind ``sdd-`` for the regions of several scales, or ``sure-`` or ``unsure-`` for the
    samples whose label the teacher gives more than ``threshold``, or less. The keys are the
    constructors' arguments; several numbers are separated by ``/``. A loss that has a temperature
    and names none takes ``temperature`` where that is given.

    >>> parse_loss("gdkd:k=3,weights=1/2/8")
    GDKD(k=3, weights=(1.0, 2.0, 8.0), temperature=4.0, strategy='best', divergence='forward')
    >>> parse_loss("ce+ls-kd:temperature=2").terms
    ('ce', 'kd')
    >>> parse_loss("sdd-kd:temperature=2,scales=1/2").scales
    (1, 2)
    >>> parse_loss("unsure-dkd:threshold=0.9,alpha=0").threshold
    0.9

    Raises:
        ValueError: an unknown name or key (the nearest valid one is named), or a bad value.
    """
    losses = [_parse_one(part.strip(), temperature) for part in text.split("+")]
    return losses[0] if len(losses) == 1 else Sum(*losses)


def _parse_one(text: str, temperature: float | int | None) -> Loss:
    name, _, options = text.partition(":")
    prefix = next((one for one in _AROUND if name.lower().startswith(one)), "")
    inner = name.lower().removeprefix(prefix)
    plain = inner.removeprefix(_STANDARDIZED)
    if plain not in _LOSSES:
        names = [prefix + known for known in _LOSSES] if prefix else _NAMES
        raise ValueError(f"unknown loss {name!r}{_nearest(name.lower(), names)}")
    around = _parameters(_AROUND[prefix]) if prefix else {}
    arguments = _arguments(plain, options, _parameters(_LOSSES[plain]) | around, temperature)
    outside = {key: arguments.pop(key) for key in around if key in arguments}
    loss = _LOSSES[plain](**arguments)
    loss = loss if plain == inner else LogitStandardized(loss)
    return _AROUND[prefix](loss, **outside) if prefix else loss


def _parameters(kind: Callable[..., Loss]) -> dict[str, Parameter]:
    """What may be written as an option: all but the inner loss, and the side, which is a prefix."""
    known = signature(kind).parameters.items()
    return {key: one for key, one in known if key not in ("base", "loss", "side")}


def _arguments(
    name: str, options: str, valid: Mapping[str, Parameter], temperature: float | int | None
) -> dict[str, object]:
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
    return arguments


def _read(where: str, text: str, default: object) -> object:
    """Read a value of the default's type; a k may be a number or the word auto."""
    try:
        if isinstance(default, bool):
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if isinstance(default, tuple):
            return tuple(type(default[0])(number) for number in text.split("/"))
        if isinstance(default, int):
            return text.lower() if where == "gdkd:k" and text.lower() == "auto" else int(text)
        return float(text) if isinstance(default, float) else text
    except (KeyError, ValueError):
        raise ValueError(f"{where}={text} is not of the kind of its default {default}") from None


def _nearest(name: str, valid: Iterable[str]) -> str:
    close = get_close_matches(name, valid, n=1, cutoff=0.5)
    known = ", ".join(valid)
    return f"; did you mean {close[0]!r}? (known: {known})" if close else f"; known: {known}"
