"""Few numbers for a logger: what was captured since they were last asked for."""

from kdanalysis.capture.record import Captured


class Tally:
    """Adds up captured batches until ``take``, so that a log has one number a term."""

    def __init__(self) -> None:
        self._clear()

    def add(self, captured: Captured) -> None:
        """Add one captured batch."""
        for term, norms in captured.norms.items():
            known = norms[~norms.isnan()]
            total, count = self._norms.get(term, (0.0, 0))
            self._norms[term] = total + float(known.sum()), count + len(known)
        self._non_finite += max((int(n.isnan().sum()) for n in captured.norms.values()), default=0)
        residual = captured.residual[~captured.residual.isnan()]
        if len(residual):
            self._residuals.append(float(residual.max()))

    def take(self) -> dict[str, float]:
        """Return the numbers and start again; nothing where nothing was captured.

        ``kd/norm/TERM`` is the mean over the captured samples of the L2 norm of the term's
        gradient in a sample's student logits, weight, T^2 and ramp included; ``kd/residual`` the
        largest residual of a sample; ``kd/non_finite``, where there are any, the number of samples
        left out because a logit is NaN or infinite.
        """
        values = {f"kd/norm/{t}": total / n for t, (total, n) in self._norms.items() if n}
        if self._residuals:
            values["kd/residual"] = max(self._residuals)
        if self._non_finite:
            values["kd/non_finite"] = float(self._non_finite)
        self._clear()
        return values

    def _clear(self) -> None:
        self._norms: dict[str, tuple[float, int]] = {}
        self._residuals: list[float] = []
        self._non_finite = 0
