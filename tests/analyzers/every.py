"""Every analyzer that is registered, made and fed by the names of what it asks for.

A new analyzer is found by itself; it needs a line here only where its constructor or ``update``
asks for something by a name that no other has.
"""

from inspect import Parameter, signature

import torch

from kdanalysis.analyzers import load_nouns
from kdanalysis.analyzers.base import Analyzer
from kdanalysis.losses import DKD, GDKD, KD, CrossEntropy
from tests.analyzers.reference import logits, regions, targets

N, C = 60, 12
STEPS = (0, 10, 20)
SCALES = (1, 2)
ARGUMENTS = {  # of constructors, by the name of the parameter
    "num_classes": C,
    "steps": STEPS,
    "epochs": (6, 7),
    "scales": SCALES,
    "k": 3,
    "ks": (1, 3, 8),
    "temperatures": (1.0, 4.0),
    "loss": DKD(),
    "losses": {"ce": CrossEntropy(), "kd": KD(), "dkd": DKD(), "gdkd": GDKD(3)},
    "layers": ("layer1", "fc"),
    "terms": ("ce", "kd"),
    "sides": ("student", "stone_1", "stone_2"),
    "student": {"a": 4, "b": 5},
    "teacher": {"a": 4, "b": 6},
    "stones": {"stone_1": 4, "stone_2": 6},
    "features": {"student": 4, "teacher": 6},
    "counts": targets(2, N, C).bincount(minlength=C).tolist(),
    "rows": N,
}
OF_ONE_LAYER = {"student_features": 0, "teacher_features": 1}  # others take one of every block
LOSSES = {"Amplification": {"dkd": DKD(), "gdkd": GDKD(3)}}  # of whose terms there are groups
ANALYZERS = {
    name: noun for name, noun in load_nouns().items() if issubclass(noun, Analyzer) and noun.table
}


def made(name: str, **given: object) -> Analyzer:
    """Make the analyzer of a noun with ``ARGUMENTS``, or others that it takes."""
    kind = ANALYZERS[name]
    known = ARGUMENTS | {"losses": LOSSES.get(kind.__name__, ARGUMENTS["losses"])} | given
    parameters = parameters_of(kind)
    lacking = [
        parameter
        for parameter, one in parameters.items()
        if one.default is Parameter.empty and parameter not in known
    ]  # fmt: skip
    assert not lacking, (
        f"{kind.__name__} asks for {lacking}: give it a line in {__name__}.ARGUMENTS"
    )
    return kind(**{parameter: known[parameter] for parameter in parameters if parameter in known})


def parameters_of(kind: type[Analyzer]) -> dict[str, Parameter]:
    """Parameters of the nearest constructor that names them."""
    for base in kind.__mro__:
        found = signature(base.__init__).parameters
        if not any(one.kind is Parameter.VAR_POSITIONAL for one in found.values()):
            return {n: p for n, p in list(found.items())[1:] if p.kind is not Parameter.VAR_KEYWORD}
    raise AssertionError(f"{kind.__name__} names no parameter")


def columns(n: int = N, seed: int = 0) -> dict:
    """What the analyzers are fed with, by the names in their ``needs`` and ``takes``."""
    gram = logits(seed + 3, n, 2)
    wide = [logits(seed + place, n, width) for place, width in ((10, 4), (11, 5), (12, 6))]
    student, teacher = logits(seed, n, C), logits(seed + 1, n, C)
    stones = [student + share * (teacher - student) for share in (0.0, 0.8, 0.4)]
    return {
        "student_logits": student,
        "teacher_logits": teacher,
        "stacked_logits": torch.stack(stones, -1),
        "target": targets(seed + 2, n, C),
        "student_regions": regions(seed + 5, n, C, 5),
        "teacher_regions": regions(seed + 6, n, C, 5),
        "step": torch.arange(n) % 3 * 10,
        "epoch": 6 + torch.arange(n) % 3 // 2,
        "gram": gram.unsqueeze(-1) * gram.unsqueeze(-2),
        "covariance": logits(seed + 4, n, 2).square().diag_embed(),
        "count": torch.full((n,), 64),
        "layer": torch.arange(n) % 2,
        "student_features": (wide[0], wide[1]),
        "teacher_features": (wide[0] + wide[1][:, :4], wide[2]),
        "connected": (wide[0].clone(), wide[2] + 1),
        "position": torch.arange(n) % 7,
        "token_class": torch.arange(n) % 4,
        "row": 3 * torch.arange(n),
        "place": torch.arange(n).flip(0),
    }


def names_of(analyzer: Analyzer) -> list[str]:
    """The columns that an analyzer is fed with, those that it needs first."""
    return list(dict.fromkeys((*analyzer.needs, *analyzer.takes)))


def taken(column, rows):
    """Rows of a column, which may be one tensor a block."""
    return tuple(one[rows] for one in column) if isinstance(column, tuple) else column[rows]


def fed(name: str, given: dict, rows=slice(None), **arguments: object) -> Analyzer:
    """An analyzer that has seen some rows of the columns."""
    analyzer = made(name, **arguments)
    update(analyzer, given, rows)
    return analyzer


def shown(analyzer: Analyzer, given: dict, rows=slice(None)) -> dict:
    """Some rows of the columns that an analyzer is fed with."""
    there = [*analyzer.needs, *(name for name in names_of(analyzer) if name in given)]
    chosen = {column: taken(given[column], rows) for column in there}
    if analyzer.noun == "embedding":
        chosen |= {column: chosen[column][place] for column, place in OF_ONE_LAYER.items()}
    return chosen


def update(analyzer: Analyzer, given: dict, rows=slice(None)) -> None:
    """Show an analyzer some rows of the columns."""
    analyzer.update(**shown(analyzer, given, rows))
