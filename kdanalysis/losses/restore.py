"""Losses from their repr, as a run keeps it, without evaluating any code."""

import ast

from kdanalysis.losses.base import Loss
from kdanalysis.losses.blocks import Blockwise
from kdanalysis.losses.compose import LogitStandardized, Sum
from kdanalysis.losses.confident import Confident
from kdanalysis.losses.decoupled import DKD, GDKD, GDKD3, Decoupled
from kdanalysis.losses.nkd import NKD
from kdanalysis.losses.plain import KD, CrossEntropy
from kdanalysis.losses.scale import SDD
from kdanalysis.partition import AutoK, Groups, Target, Top1, Top1TopK, TopK

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
