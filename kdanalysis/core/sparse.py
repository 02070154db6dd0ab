"""SparseTeacher: what is known of a teacher of whom every token gives a few log-probabilities."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kdanalysis.core import sparse_checks as check
from kdanalysis.core.arguments import typed
from kdanalysis.core.device import as_device
from kdanalysis.core.sparse_sums import checked, warn_of_renormalised
from kdanalysis.core.sparse_tail import Bounds, kept, tail_bounds
from kdanalysis.core.wording import percent

ROWS = 8  # of logits that are held in float64 at once


@typed
class SparseTeacher:
    """The teacher's log-probabilities of K tokens a row, and the mass of all others where known.

    Rows need no order, may hold fewer than K tokens, and the token that was sampled may stand
    among them. Every argument is a torch tensor or a numpy array. Log-probabilities of -1000 and
    below are fillers of other programs: their tokens count as absent, and ``found`` counts them.

    Args:
        ids: (n, K) token ids, -1 where absent.
        logprobs: (n, K) log-probabilities at ``temperature`` in nats; with ``kind="logits"`` the
            logits themselves, divided by ``temperature``.
        log_other: (n,) log of the mass of all other tokens; 1 - sum in float64 if None.
        temperature: T of ``logprobs``.
        vocabulary: number of tokens; logits of a student beyond them are padding. The student's
            own number if None.
        logsumexp: {T: (n,)} logsumexp(logits / T) of the raw logits, for other temperatures. Of
            log-probabilities the one at ``temperature`` itself is needed too.
        kind: "logprobs"; "logits"; or "sampled", tokens drawn from the teacher.
        counts: (n, K) how often every token was drawn, for "sampled" alone.

    Raises:
        ValueError: an id twice in a row or beyond the vocabulary, masses that add up to more than
            1, a logsumexp below that of the known tokens, a row without tokens, NaN, or shapes that
            do not fit; it names the first such row.
    """

    ids: Int[Tensor, "n k"]
    logprobs: Float[Tensor, "n k"]
    log_other: Float[Tensor, " n"] | None
    temperature: float
    vocabulary: int | None
    logsumexp: dict[float, Float[Tensor, " n"]] | None
    kind: str
    counts: Int[Tensor, "n k"] | None
    bounds: Bounds | None = None  # of the tail, where another temperature leaves no more
    _ranked: bool = False  # whether the tokens are known to be the K largest
    found: dict[str, int]  # what was counted: "sentinel" log-probabilities, rows with "no tail"

    def __init__(
        self,
        ids: Any,
        logprobs: Any,
        log_other: Any = None,
        temperature: int | float = 1.0,
        vocabulary: int | None = None,
        logsumexp: Any = None,
        kind: str = "logprobs",
        counts: Any = None,
    ) -> None:
        self.kind, self.temperature = check.kind(kind), check.temperature(temperature)
        self.vocabulary = check.vocabulary(vocabulary)
        self.ids, self.logprobs = check.tokens(ids, logprobs, self.vocabulary)
        self.log_other = check.log_other(log_other, self.logprobs)
        self.logsumexp = check.logsumexp(logsumexp, self.logprobs)
        self.counts = check.counts(counts, kind, self.ids)
        sentinel = self.present & (self.logprobs <= check.SENTINEL)
        self.ids = self.ids.masked_fill(sentinel, -1)
        check.rows(self.ids)
        limits = self.temperature, self.vocabulary, self.logsumexp, kind
        self.found = {"sentinel": int(sentinel.sum())}
        self.found |= checked(self.inside(), self.log_other, *limits)
        if kind == "logprobs" and self.log_other is None and len(self):
            warn_of_renormalised(self.inside(), self.vocabulary or int(self.ids.max()) + 1)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        of = "" if self.vocabulary is None else f" of {self.vocabulary}"
        return (
            f"SparseTeacher({len(self)} rows, {self.ids.shape[-1]} tokens{of}, {self.kind} at "
            f"T = {self.temperature:g})"
        )

    @property
    def present(self) -> Bool[Tensor, "n k"]:
        """Where a token stands."""
        return self.ids >= 0

    @property
    def has_tail(self) -> bool:
        """Whether the mass of the other tokens is known at ``temperature``."""
        return self.kind != "logits"

    def inside(self) -> Float[Tensor, "n k"]:
        """Log-probabilities (logits / T of logits) in float64, -inf where a token is absent."""
        return self.logprobs.double().masked_fill(~self.present, -torch.inf)

    def tail(self) -> Float[Tensor, " n"]:
        """Log of the mass of all other tokens at ``temperature``, float64; -inf where none is left.

        Raises:
            ValueError: it is not known: logits without their logsumexp.
        """
        if not self.has_tail:
            raise ValueError(
                f"{self} does not say how much mass the other tokens have{self._bounded()}: that "
                f"needs the logsumexp of all logits at T = {self.temperature:g}; without it only "
                f"what stays inside the known tokens (tail=renormalise) can be computed"
            )
        if self.log_other is not None:
            return self.log_other.double()
        return torch.log1p(-self.inside().logsumexp(-1).exp().clamp(max=1.0))

    def _bounded(self) -> str:
        if self.bounds is None:
            return ""
        low, high = (float(bound.exp().mean()) for bound in self.bounds)
        return f" (between {percent(low)} and {percent(high)} in the mean over rows)"

    @classmethod
    @typed
    def from_logits(
        cls, logits: Any, k: int, temperatures: Sequence[int | float] = (1,)
    ) -> "SparseTeacher":
        """Keep the k largest of every row of a teacher's logits (n, c), computed in float64.

        Log-probabilities are at the first temperature; the others have their logsumexp.

        Raises:
            ValueError: k is not within 1 and the number of classes, or a logit is not finite.
        """
        logits, k = check.logits(logits, k)
        temperatures = [check.temperature(t) for t in temperatures]
        if not temperatures:
            raise ValueError("from_logits needs at least one temperature, got none")
        parts = [kept(chunk, k, temperatures) for chunk in logits.split(ROWS)]
        ids, logprobs, other, *whole = map(torch.cat, zip(*parts, strict=True))
        sums = dict(zip(temperatures, whole, strict=True))
        made = cls(ids, logprobs, other, temperatures[0], logits.shape[-1], sums)
        return made.replaced(_ranked=True)

    @typed
    def at(self, temperature: int | float) -> "SparseTeacher":
        """Return the teacher at another temperature.

        With the logsumexp there it is as exact as this one. Without it the distribution inside
        the known tokens is still exact, and the mass of the others lies within
        ``tail_bounds(temperature)``: the answer is of the kind "logits", and what needs the tail
        refuses it.
        """
        temperature = check.temperature(temperature)
        if temperature == self.temperature and self.has_tail:
            return self
        if self.kind == "sampled":
            raise ValueError(
                f"{self} was drawn at T = {self.temperature:g}: draws say nothing of T = "
                f"{temperature:g}"
            )
        known, logits = self.logsumexp or {}, self.inside()
        raw = self.kind == "logits" or self.temperature in known
        if raw and self.kind == "logprobs":
            logits = logits + known[self.temperature].unsqueeze(-1)
        logits = logits * (self.temperature / temperature)
        changed: dict[str, Any] = {"temperature": temperature, "log_other": None}
        if raw and temperature in known:
            logits = logits - known[temperature].unsqueeze(-1)
            return self.replaced(logprobs=logits, kind="logprobs", **changed)
        bounded = self.has_tail and self.vocabulary is not None
        bounds = self.tail_bounds(temperature) if bounded else None
        changed |= {"logsumexp": known if raw else None, "bounds": bounds}
        return self.replaced(logprobs=logits, kind="logits", **changed)

    @typed
    def tail_bounds(self, temperature: int | float) -> Bounds:
        """Bound the log of the others' mass at another temperature, without their logits.

        With r the temperature over the stored one, P_O the tail's mass, p_K the smallest known of
        the K largest probabilities and X = sum of the others' p^(1/r), for r > 1

            P_O p_K^(1/r - 1) <= X <= (V - K)^(1 - 1/r) P_O^(1/r)

        and the other way round for r < 1; the mass is X / (X + sum of the known p^(1/r)). One
        token outside the K largest may stand among the known ones: where it cannot be told, p_K
        is the second smallest.

        Raises:
            ValueError: the tail is not known here, or the vocabulary is not.
        """
        ratio = check.temperature(temperature) / self.temperature
        if self.vocabulary is None:
            raise ValueError(f"{self} needs its vocabulary: it bounds how far the tail spreads")
        return tail_bounds(self.inside(), self.tail(), ratio, self.vocabulary, self._ranked)

    @typed
    def top(self, k: int) -> "SparseTeacher":
        """Return the k largest tokens of every row; the mass of the others joins the tail."""
        if self.kind == "sampled":
            raise ValueError(f"{self} holds draws: they have no k largest")
        k = check.number("k", k)
        if k >= self.ids.shape[-1]:
            return self
        inside = self.inside()
        order = inside.sort(dim=-1, descending=True, stable=True).indices
        kept, left = order.split((k, order.shape[-1] - k), -1)
        changed = {"ids": self.ids.gather(-1, kept), "logprobs": self.logprobs.gather(-1, kept)}
        if self.has_tail:
            changed["log_other"] = inside.gather(-1, left).logsumexp(-1).logaddexp(self.tail())
        return self.replaced(**changed)

    def __getitem__(self, rows: slice | Tensor) -> "SparseTeacher":
        """Return some rows."""
        return self._each(lambda values: values[rows])

    @typed
    def to(self, device: torch.device | str | int) -> "SparseTeacher":
        """Return it on a device; a ValueError where torch finds none of that name."""
        found = as_device(device)
        return self._each(lambda values: values.to(found))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "SparseTeacher":
        """Change every tensor, one row of it belonging to one row of the ids."""
        new: dict[str, Any] = {k: change(v) for k, v in vars(self).items() if torch.is_tensor(v)}
        if self.logsumexp is not None:
            new["logsumexp"] = {t: change(values) for t, values in self.logsumexp.items()}
        if self.bounds is not None:
            new["bounds"] = Bounds(*map(change, self.bounds))
        return self.replaced(**new)

    def replaced(self, **changed: Any) -> "SparseTeacher":
        """Return one with other values; nothing is checked anew."""
        other = object.__new__(type(self))
        vars(other).update(vars(self) | changed)
        return other
