"""Losses written as text: ``gdkd:k=5,temperature=4``, as the command line takes them."""

import ast
import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import partial
from inspect import Parameter, signature

from kdanalysis.core.partition import AutoK, Groups, Target, Top1, Top1TopK, TopK
from kdanalysis.losses.around import Confident, LogitStandardized, Sum
from kdanalysis.losses.base import Loss
from kdanalysis.losses.blocks import Blockwise
from kdanalysis.losses.decoupled import DKD, GDKD, GDKD3, Decoupled
from kdanalysis.losses.nkd import NKD
from kdanalysis.losses.plain import KD, CrossEntropy
from kdanalysis.losses.regions import SDD

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


OPTION = re.compile(r"[^:=]*=|[\d./ ]*$")


def parse_losses(
    texts: str | Iterable[str], temperature: float | int | None = None
) -> dict[str, Loss]:
    """Read lists of losses; the label of each is its name, or all of its text where names repeat.

    A comma separates losses as well as the options of one. A piece that begins with ``key=`` or is
    a bare number belongs to the loss before it, everything else begins another loss.

    >>> list(parse_losses("kd,gdkd:k=5,temperature=2,nkd"))
    ['kd', 'gdkd', 'nkd']
    >>> list(parse_losses(["gdkd:k=3", "gdkd:k=5,temperature=2"]))
    ['gdkd:k=3', 'gdkd:k=5,temperature=2']

    Args:
        texts: one list or several, read as one.
        temperature: of every loss that has one and names none; each loss's own default if None.

    Raises:
        ValueError: as :func:`parse_loss`, an option before any loss, or a loss given twice.
    """
    texts = [texts] if isinstance(texts, str) else list(texts)
    written = [loss for text in texts for loss in split_list(text)]
    losses = [parse_loss(text, temperature) for text in written]
    for place, loss in enumerate(losses):
        earlier = [repr(other) for other in losses[:place]]
        if repr(loss) in earlier:
            first = written[earlier.index(repr(loss))]
            raise ValueError(
                f"{first!r} and {written[place]!r} are both {loss}: every loss is needed once"
            )
    return dict(zip(labels(written), losses, strict=True))


def split_list(text: str) -> list[str]:
    """Split at the commas between losses, and leave those between the options of one."""
    losses: list[str] = []
    for piece in (piece.strip() for piece in text.split(",")):
        if not (piece and OPTION.match(piece)):
            losses.append(piece)
        elif losses:
            losses[-1] += f",{piece}"
        else:
            raise ValueError(f"the list of losses {text!r} begins with an option: need a name")
    return losses


def labels(written: Iterable[str]) -> list[str]:
    """Return every loss's name without options, or its whole text where names are shared."""
    whole = ["".join(text.lower().split()) for text in written]
    names = [re.sub(r":[^+]*", "", text) for text in whole]
    return [
        name if names.count(name) == 1 else text for name, text in zip(names, whole, strict=True)
    ]


_KNOWN = {
    kind.__name__: kind
    for kind in (
        *(KD, CrossEntropy, DKD, GDKD, GDKD3, NKD, Decoupled, LogitStandardized, Sum, SDD),
        *(Confident, Blockwise),
        *(AutoK, Groups, Target, Top1, Top1TopK, TopK),
    )
}


def restore_loss(text: str) -> Loss:
    """Build the loss whose ``repr`` the text is.

    >>> restore_loss("Sum(CrossEntropy(weight=1.0), KD(temperature=2.0, weight=1.0))").terms
    ('ce', 'kd')

    Raises:
        ValueError: the text is no repr of a loss of this package.
    """
    try:
        loss = _build(ast.parse(text, mode="eval").body)
    except (SyntaxError, KeyError, TypeError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"not the repr of a loss of this package: {text!r:.200}") from error
    if not isinstance(loss, Loss):
        raise ValueError(f"not the repr of a loss of this package: {text!r:.200}")
    return loss


def _build(node: ast.expr) -> object:
    if not isinstance(node, ast.Call):
        return ast.literal_eval(node)
    if not isinstance(node.func, ast.Name):
        raise ValueError("only plain names are called")
    keywords = {keyword.arg: _build(keyword.value) for keyword in node.keywords}
    return _KNOWN[node.func.id](*map(_build, node.args), **keywords)
