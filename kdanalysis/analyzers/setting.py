"""Setting: what is known of logits before they are read, and the losses they are looked at with.

The losses compared are KD, DKD (1/8) and GDKD (1/1/8) at one temperature and k: those a run was
trained with, 4 and 5 where its loss has none, so that runs of different losses show the same
quantities. Gradients follow from the logits in closed form, without the warm-up ramp; where a run
had one, ``ramps`` say what it was.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from kdanalysis.core.arguments import typed
from kdanalysis.core.partition import Target, TopK
from kdanalysis.core.regions import check_scales
from kdanalysis.core.streams import check_temperature
from kdanalysis.core.wording import told
from kdanalysis.losses import DKD, GDKD, KD, CrossEntropy, Loss
from kdanalysis.losses.parts import KDParts

LEAST = {
    **{"num_classes": (2, "one class alone is always certain"), "k": (1, "a group holds a class")},
    **{"steps": (0, "they count from 0"), "features": (1, "they are a side's width")},
    **{"times": (1, "a row has an image")},
    **dict.fromkeys(("counts", "rows"), (0, "they count rows")),
}


@typed
@dataclass(frozen=True)
class Setting:
    """What an analyzer is made for.

    Args:
        num_classes: of the logits.
        steps: captured steps, each of which stands for those up to the next; of region logits the
            epochs. (0,) where the logits come from no training.
        temperature: T of the losses compared.
        k: size of GDKD's top group.
        trained: the loss that was trained, by the name "trained", where it is none of those
            compared.
        used: names of the losses that were trained, among the bare ones and ``trained``.
        region_loss: of one region.
        scales: of region logits.
        times: how often an image is there with its regions, of a row's image on average.
        layers: names of the layers recorded.
        terms: names of the terms recorded at layers.
        ramps: by term of the loss trained, the warm-up factor at every step; none where all are 1.
        features: how many every side has, by its name; none where there are no features.
        counts: labelled rows of features, by class.
        rows: how many of them are looked at.

    Raises:
        ValueError: a number out of its range, scales that do not rise from 1, a name of ``used``
            that no loss has, or another number of factors than steps in ``ramps``.
    """

    num_classes: int
    steps: tuple[int, ...] = (0,)
    temperature: float = 4.0
    k: int = 5
    trained: Mapping[str, Loss] = field(default_factory=dict)
    used: tuple[str, ...] = ()
    region_loss: Loss | None = None
    scales: tuple[int, ...] = ()
    times: float = 1.0
    layers: tuple[str, ...] = ()
    terms: tuple[str, ...] = ()
    ramps: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    features: Mapping[str, int] = field(default_factory=dict)
    counts: tuple[int, ...] = ()
    rows: int = 0

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        if self.scales:
            check_scales(self.scales)
        for name, (least, why) in LEAST.items():
            given = getattr(self, name)
            of = given.values() if isinstance(given, Mapping) else given
            if any(one < least for one in (of if isinstance(of, Iterable) else (of,))):
                raise ValueError(f"Setting: {name} must be from {least}, as {why}; got {given!r}")
        if unknown := [name for name in self.used if name not in {*self.bare, *self.trained}]:
            known = ", ".join((*self.bare, *self.trained))
            raise ValueError(f"Setting: used must name losses among {known}; got {unknown[0]!r}")
        for term, factors in self.ramps.items():
            if len(factors) != len(self.steps) or min(factors, default=0) < 0:
                raise ValueError(
                    f"Setting: ramps[{term!r}] must be {len(self.steps)} factors from 0, one for "
                    f"every step; got {told(factors)}"
                )

    @cached_property
    def bare(self) -> dict[str, Loss]:
        """Cross-entropy, KD, DKD and GDKD, every weight 1."""
        return {
            "ce": CrossEntropy(),
            "kd": KD(self.temperature),
            "dkd": DKD(1.0, 1.0, self.temperature),
            "gdkd": GDKD(self.k, (1.0, 1.0, 1.0), self.temperature),
        }

    @cached_property
    def inside(self) -> dict[str, KDParts]:
        """Plain KD in parts: as GDKD splits it, and as DKD does."""
        return {
            "kd parts": KDParts(TopK(self.k), self.temperature),
            "kd parts by target": KDParts(Target(), self.temperature, ("tckd", None, "nckd")),
        }

    @cached_property
    def decoupled(self) -> dict[str, Loss]:
        """DKD and GDKD with the papers' weights."""
        return {
            "dkd": DKD(temperature=self.temperature),
            "gdkd": GDKD(self.k, temperature=self.temperature),
        }

    @cached_property
    def unit(self) -> dict[str, Loss]:
        """DKD and GDKD with every weight 1: what the partition alone changes."""
        return {"dkd 1/1": self.bare["dkd"], "gdkd 1/1/1": self.bare["gdkd"]}

    @property
    def ramps_of_used(self) -> dict[str, Mapping[str, tuple[float, ...]]]:
        """The warm-up factors by loss that was trained, and term; none where all are 1."""
        return dict.fromkeys(self.used, self.ramps) if self.ramps else {}

    @property
    def loss_of_region(self) -> Loss:
        """The loss of one region; plain KD at this temperature where none is known."""
        return KD(self.temperature) if self.region_loss is None else self.region_loss

    @property
    def last_quarter(self) -> int:
        """The first step of the last quarter of the captured ones; 0 where there are none."""
        return self.steps[3 * len(self.steps) // 4] if self.steps else 0
