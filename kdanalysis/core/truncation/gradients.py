"""The gradients that the conventions keep and lose, their losses' values: compiled, K by K.

S are the teacher's K most probable classes, O the others; P, Q, P_O, Q_O their masses under
p = softmax(teacher / T) and q = softmax(student / T). Over T (the loss times T^2) the gradients
in the student's logits are, on S and on O,

    full KL       q - p                    q - p
    renormalise   q/Q - p/P                0                          KL of S, both renormalised
    bucket        q - p                    q (Q_O - P_O) / Q_O        one more class for O
    none          P q - p                  P q                        sum over S of p log(p/q)
    teacher       q - p/P                  q                          the teacher renormalised alone

Each is a q + b p on either group, so that norms and products follow from sums of pp, pq and qq over
the groups. Where the masses of a group are close, q = e + p with e = q - p: a e + (a + b) p, from
sums of pp, pe and ee, keeps the digits of a small difference. Factors are written (a, b, a + b).
"""

from typing import no_type_check

import numpy as np

from kdanalysis.core.sweep.elementary import compiled
from kdanalysis.core.truncation.algebra import Group, is_near
from kdanalysis.core.truncation.distances import distance

ROUNDING = 1e-14  # of the squares of the parts of a gradient: what is left of them is rounding
rounded = compiled()  # no product is added before it is rounded: squares that cancel would change
near = rounded(is_near)


@no_type_check
@rounded
def add(sums, p, q, u):
    """Add what a class adds to the sums of its group; u = log(q/p)."""
    e = q - p
    sums[0] += p
    sums[1] += e
    sums[2] += q
    sums[3] += p * p
    sums[4] += p * e
    sums[5] += e * e
    sums[6] += p * q
    sums[7] += q * q
    sums[8] += e - p * u


@no_type_check
@rounded
def group(of, e):
    """The group of these sums, its difference of masses in place of their own."""
    return Group(of[0], e, of[2], of[3], of[4], of[5], of[6], of[7], of[8])


@no_type_check
@rounded
def groups(p, q, u, tail, ks, inside, outside):
    """Fill in the sums over S and over O of every K."""
    sums, place = np.zeros(inside.shape[1]), 0
    for j in range(len(p)):
        add(sums, p[j], q[j], u[j])
        if place < len(ks) and ks[place] == j + 1:
            inside[place] = sums
            place += 1
    sums[:] = 0.0
    for j in range(len(p), 0, -1):
        if place > 0 and ks[place - 1] == j:
            place -= 1
            outside[place] = sums + tail
        add(sums, p[j - 1], q[j - 1], u[j - 1])


@no_type_check
@rounded
def kept(top, other):
    """Factors on S and on O of the gradients that the conventions keep, over T, in their order."""
    moved, missing = other.e / other.q, -other.p / top.p
    return (
        ((1 / top.q, -1 / top.p, -top.e / (top.p * top.q)), (0.0, 0.0, 0.0)),
        ((1.0, -1.0, 0.0), (moved, 0.0, moved)),
        ((top.p, -1.0, -other.p), (top.p, 0.0, top.p)),
        ((1.0, -1 / top.p, missing), (1.0, 0.0, 1.0)),
    )


@no_type_check
@rounded
def lost(top, other):
    """Factors on S and on O of full KL's gradient less those, over T, in their order."""
    missing, factor = other.p / top.p, other.p / other.q
    return (
        ((-other.q / top.q, missing, top.e / (top.p * top.q)), (1.0, -1.0, 0.0)),
        ((0.0, 0.0, 0.0), (factor, -1.0, -other.e / other.q)),
        ((other.p, 0.0, other.p), (other.p, -1.0, -top.p)),
        ((0.0, missing, missing), (0.0, -1.0, -1.0)),
    )


@no_type_check
@rounded
def square(factors, of):
    """Squared norm of a gradient on a group."""
    a, b, both = factors
    if near(of):
        b, mixed, of_q = both, of.pe, of.ee
    else:
        mixed, of_q = of.pq, of.qq
    parts = a * a * of_q + b * b * of.pp
    found = parts + 2 * a * b * mixed
    return 0.0 if found <= ROUNDING * parts else found


@no_type_check
@rounded
def along(factors, of):
    """Product of a gradient with q - p on a group."""
    a, b, both = factors
    if near(of):
        return a * of.ee + both * of.pe
    return a * (of.qq - of.pq) + b * (of.pq - of.pp)


@no_type_check
@rounded
def log_ratio(of):
    """Logarithm of Q / P of a group."""
    return np.log1p(of.e / of.p) if near(of) else np.log(of.q) - np.log(of.p)


@no_type_check
@rounded
def values(top, other):
    """Value of every convention, over T^2, in nats, in their order.

    A sum over a group of p log(p/q) is that of h less Q - P, and h is what has the digits.
    """
    of_top, of_other = log_ratio(top), log_ratio(other)
    inside = (top.h - top.e) / top.p + of_top  # KL in S, both renormalised
    between = -(top.p * of_top + (other.p * of_other if other.p > 0.0 else 0.0))
    return inside, between + top.p * inside, top.h - top.e, inside - np.log(top.q)


@no_type_check
@rounded
def distances(p, q, k, top, other, bucket, none):
    """Sums of absolute entries of the lost gradients over the known classes, in their order."""
    first, last = (p[:k], q[:k]), (p[k:], q[k:])
    of_top = distance(*first, other.p / top.p, other.q / top.q)
    return (
        of_top + distance(*last, 1.0, 1.0),
        distance(*last, 1.0, bucket),
        distance(*last, 1.0, none) + other.p * top.q,
        0.0,
    )


@no_type_check
@rounded
def compare(top, tail, ks, temperature, factors, apart, found, full, masses):
    """Fill in what every row loses and keeps at every K, by every convention.

    Args:
        top: p, q and log(q/p) of the known classes (3, n, m), the teacher's largest first.
        tail: the sums of a group over the other classes, then that of |q - p| (n, 10).
        ks: every K, ascending, at most m.
        temperature: T.
        factors: P_O / Q_O of every K, then P_O (n, 2 k).
        apart: sums of |factor q - p| over the classes that are not among the top (n, 2 k).
        found: the lost gradient's L2 and L1 norms, the kept one's L2 norm, its cosine to full KL's,
            NaN where one is 0, and the value, all with T^2 (5, v, n, k); filled in.
        full: the L2 norm of full KL's gradient, and its value, with T^2 (2, n); filled in.
        masses: P_O and Q_O (2, n, k); filled in.
    """
    many, square_of_t = len(ks), temperature * temperature
    inside, outside = np.empty((2, many, tail.shape[1] - 1))
    for i in range(len(tail)):
        p, q = top[0, i], top[1, i]
        groups(p, q, top[2, i], tail[i, :-1], ks, inside, outside)
        norm = np.sqrt(inside[0, 5] + outside[0, 5])
        full[0, i] = temperature * norm
        full[1, i] = square_of_t * (inside[0, 8] + outside[0, 8])
        for at in range(many):
            # the larger one's q - p is that of the other, which has digits
            e = -outside[at, 1] if inside[at, 0] > outside[at, 0] else inside[at, 1]
            of_top, of_other = group(inside[at], e), group(outside[at], -e)
            masses[0, i, at], masses[1, i, at] = of_other.p, of_other.q
            value, gone, left = (
                values(of_top, of_other),
                lost(of_top, of_other),
                kept(of_top, of_other),
            )
            bucket, none = factors[i, at], factors[i, many + at]
            far = distances(p, q, ks[at], of_top, of_other, bucket, none)
            others = tail[i, -1], apart[i, at], apart[i, many + at], 2 * of_other.p
            for v in range(len(value)):
                on_top, on_other = left[v]
                length = np.sqrt(square(on_top, of_top) + square(on_other, of_other))
                found[2, v, i, at] = temperature * length
                cosine = np.nan
                if length * norm > 0:
                    cosine = (along(on_top, of_top) + along(on_other, of_other)) / (length * norm)
                found[3, v, i, at] = -1.0 if cosine < -1 else 1.0 if cosine > 1 else cosine
                on_top, on_other = gone[v]
                length = np.sqrt(square(on_top, of_top) + square(on_other, of_other))
                found[0, v, i, at] = temperature * length
                found[1, v, i, at] = temperature * (others[v] + far[v])
                found[4, v, i, at] = square_of_t * value[v]
