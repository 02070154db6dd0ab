"""Losses as text: as the command line takes them, ``gdkd:k=5,temperature=4``, and as their repr.

Which names, prefixes and options there are is said by the losses themselves, see ``registry``.
"""

import ast
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from inspect import Parameter, signature
from typing import get_args

from kdanalysis.core.arguments import typed
from kdanalysis.core.partition import RULES
from kdanalysis.losses.around import Sum
from kdanalysis.losses.base import Loss
from kdanalysis.losses.registry import KINDS, called, named, prefixed, preset

LONGEST = 40  # letters of what is quoted in an error


@typed
def parse_loss(text: str, temperature: float | int | None = None) -> Loss:
    """Read a loss from ``name:key=value,key=value``; ``+`` between several adds them up.

    Names: ce, kd, dkd, gdkd, gdkd3, nkd, of language models topk, fkl, rkl, jsd, skew, tvd, ab, rs
    and sample, and by project trl-server, verl, distillkit, axolotl, nemo, megatron, maxtext and
    swift, whose options may be written over; each also behind ``ls-`` for standardised logits,
    behind ``sdd-`` for the regions of several scales, or behind ``sure-`` or ``unsure-`` for the
    samples whose label the teacher gives more than ``threshold``, or less; of several prefixes the
    first is outermost. Losses of your own go by the names they are defined with. The keys are the
    constructors' arguments; several numbers are separated by ``/``. A loss that has a temperature
    and names none takes ``temperature`` where that is given.

    >>> parse_loss("gdkd:k=3,weights=1/2/8")
    GDKD(k=3, weights=(1.0, 2.0, 8.0), temperature=4.0, strategy='best', divergence='forward')
    >>> parse_loss("gdkd:k=64,weights=1/mass/0").weights
    (1.0, 'mass', 0.0)
    >>> parse_loss("ce+ls-kd:temperature=2").terms
    ('ce', 'kd')
    >>> parse_loss("sdd-kd:temperature=2,scales=1/2").scales
    (1, 2)
    >>> parse_loss("unsure-dkd:threshold=0.9,alpha=0").threshold
    0.9

    Raises:
        ValueError: an unknown name or key (the nearest valid one is named), or a bad value.
    """
    losses = [_parse_one(" ".join(part.split()), temperature) for part in text.split("+")]
    return losses[0] if len(losses) == 1 else Sum(*losses)


def _parse_one(text: str, temperature: float | int | None) -> Loss:
    whole, _, written = text.partition(":")
    around, plain = _unwrapped(whole.lower())
    known = {name: (kind, {}) for name, kind in named().items()} | preset()
    if plain not in known:
        raise ValueError(f"unknown loss {whole[:LONGEST]!r}{_nearest_loss(whole.lower(), plain)}")
    made, begun = known[plain]
    inner = _parameters(made)
    outer = [(kind, fixed, _parameters(kind, fixed)) for kind, fixed in around]
    valid = inner | {key: one for _, _, keys in outer for key, one in keys.items()}
    options = _options(plain, written, valid)
    if temperature is not None and "temperature" in valid:
        options.setdefault("temperature", temperature)
    own = [{key: options.pop(key) for key in keys if key in options} for _, _, keys in outer]
    loss = made(**(begun | options))
    for (kind, fixed, _), given in zip(reversed(outer), reversed(own), strict=True):
        loss = kind(loss, **given, **fixed)
    return loss


def _unwrapped(text: str) -> tuple[list[tuple], str]:
    """Return the losses around another by their prefixes, outermost first, and the inner name."""
    for prefix, kind in prefixed().items():
        if text.startswith(prefix):
            rest, plain = _unwrapped(text.removeprefix(prefix))
            return [kind, *rest], plain
    return [], text


def _parameters(kind: type[Loss], fixed: Iterable[str] = ()) -> dict[str, Parameter]:
    """What may be written as an option: all that has a default and that no prefix stands for."""
    known = signature(kind).parameters.items()
    return {k: one for k, one in known if one.default is not Parameter.empty and k not in fixed}


def _options(name: str, text: str, valid: Mapping[str, Parameter]) -> dict[str, object]:
    found: dict[str, object] = {}
    for option in filter(None, text.split(",")):
        key, equals, value = (piece.strip() for piece in option.partition("="))
        if key not in valid:
            listed = "" if equals else " (several numbers are written 1/2/8)"
            key = key[:LONGEST]
            raise ValueError(f"loss {name!r} has no option {key!r}{listed}{_nearest(key, valid)}")
        if key in found:
            raise ValueError(f"option {key!r} of loss {name!r} is given twice")
        if not equals or not value:
            raise ValueError(f"option {key!r} of loss {name!r} needs a value: {key}=...")
        found[key] = _read(f"{name}:{key}", value, valid[key])
    return found


def _read(where: str, text: str, option: Parameter) -> object:
    """Read a value of the default's type, or of another that the option is annotated with."""
    default = option.default
    kinds: list[Callable] = [type(default)]
    kinds += [k for k in (int, float, str) if k in get_args(option.annotation)]
    if isinstance(default, bool):
        kinds = [{"true": True, "1": True, "false": False, "0": False}.__getitem__]
        text = text.lower()
    elif isinstance(default, tuple):
        kinds[:1] = [_several(type(default[0]), option)]
    for kind in kinds:
        with suppress(KeyError, TypeError, ValueError):
            return kind(text)
    raise ValueError(f"{where}={text[:LONGEST]} is not of the kind of its default {default}")


def _several(kind: Callable, option: Parameter) -> Callable[[str], tuple]:
    """Return what reads numbers between slashes; words among them where the option takes some."""
    many = option.annotation, *get_args(option.annotation)
    worded = any(str in get_args(item) for one in many for item in get_args(one))

    def item(text: str) -> object:
        with suppress(ValueError):
            return kind(text)
        if worded and text.isidentifier():
            return text
        raise ValueError(text)

    def read(text: str) -> tuple:
        items = tuple(item(one.strip()) for one in text.split("/"))
        if len(items) == 1 and isinstance(items[0], str):
            raise ValueError(text)  # a word alone is no tuple
        return items

    return read


def _nearest_loss(name: str, plain: str) -> str:
    if f"{name}-" in prefixed():
        return f"; did you mean '{name}-kd'? It stands before another loss"
    before, known = name.removesuffix(plain), (*named(), *preset())
    around = [] if before else [text + other for text in prefixed() for other in named()]
    close = get_close_matches(name, [before + other for other in known] + around, n=1, cutoff=0.5)
    return _listed(close, known) + ("" if before else f"; each also behind {', '.join(prefixed())}")


def _nearest(name: str, valid: Iterable[str]) -> str:
    return _listed(get_close_matches(name, valid, n=1, cutoff=0.5), valid)


def _listed(close: Sequence[str], valid: Iterable[str]) -> str:
    known = ", ".join(valid)
    return f"; did you mean {close[0]!r}? (known: {known})" if close else f"; known: {known}"


OPTION = re.compile(r"[^:=]*=|[\d./ ]*$")


@typed
def parse_losses(
    texts: str | Iterable[str | Loss], temperature: float | int | None = None
) -> dict[str, Loss]:
    """Read lists of losses; the label of each is its name, or all of its text where names repeat.

    A loss that is made already is called by the options that are not its usual ones.

    A comma separates losses as well as the options of one. A piece that begins with ``key=`` or is
    a bare number belongs to the loss before it, everything else begins another loss.

    >>> list(parse_losses("kd,gdkd:k=5,temperature=2,nkd"))
    ['kd', 'gdkd', 'nkd']
    >>> list(parse_losses(["gdkd:k=3", "gdkd:k=5,temperature=2"]))
    ['gdkd:k=3', 'gdkd:k=5,temperature=2']

    Args:
        texts: one list or several, read as one.
        temperature: of every written loss that has one and names none; its own default if None.

    Raises:
        ValueError: as :func:`parse_loss`, an option before any loss, or a loss given twice.
    """
    texts = [texts] if isinstance(texts, str) else list(texts)
    given = [one for t in texts for one in (split_list(t) if isinstance(t, str) else [t])]
    losses = [parse_loss(one, temperature) if isinstance(one, str) else one for one in given]
    written = [one if isinstance(one, str) else called(one) for one in given]
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
    return (RULES | KINDS)[node.func.id](*map(_build, node.args), **keywords)
