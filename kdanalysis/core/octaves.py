"""exp(x / T) at many temperatures; those an octave apart share their exponentials."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from math import frexp, ldexp

import torch
from jaxtyping import Float
from torch import Tensor

FAR = 8  # octaves; a square has twice the relative error of its root


def exponentials(
    below: Float[Tensor, "*n"], temperatures: Sequence[float]
) -> Iterator[tuple[int, Float[Tensor, "*n"]]]:
    """Yield the place of every temperature, in any order, with exp(x / T) for x <= 0.

    The temperatures are all different. exp(x / (T/2)) is the square of exp(x / T): 25 temperatures
    in quarter octaves take 4 exponentials a number. All are yielded in one array, which the next
    one fills anew.
    """
    families: dict[float, dict[int, int]] = defaultdict(dict)
    for place, temperature in enumerate(temperatures):
        mantissa, octave = frexp(temperature)
        families[mantissa][octave] = place
    powers = torch.empty_like(below)
    for mantissa, places in families.items():
        first = held = max(places)
        for octave in sorted(places, reverse=True):
            if octave == first or first - octave > FAR:
                torch.div(below, ldexp(mantissa, octave), out=powers).exp_()
                first = held = octave
            for _ in range(held - octave):
                powers.square_()
            held = octave
            yield places[octave], powers


def log_sums(logits: Float[Tensor, "n c"], temperatures: Sequence[float]) -> Float[Tensor, "t n"]:
    """Return log sum_i exp(logits_i / T) by T; -inf of a row of -inf."""
    peak = logits.amax(-1, keepdim=True)
    peak = peak.masked_fill(peak.isneginf(), 0.0)
    found = logits.new_empty(len(temperatures), len(logits))
    for place, powers in exponentials(logits - peak, temperatures):
        found[place] = powers.sum(-1).log() + peak.squeeze(-1) / temperatures[place]
    return found
