"""How a network is trained: the settings that teacher and students share."""

from dataclasses import asdict, dataclass, fields
from math import cos, pi
from typing import Any

from kdanalysis.losses import Loss

MILESTONES = (0.625, 0.75, 0.875)  # 150, 180, 210 of 240 epochs, as the literature trains
RISE, START = 0.25, 0.04  # of one cycle: the part that rises, and the share it rises from


@dataclass(frozen=True)
class Settings:
    """SGD with Nesterov momentum 0.9, and what the distillation literature varies around it.

    Args:
        epochs: passes over the training images.
        batch_size: images in a step.
        learning_rate: the largest.
        schedule: "cosine" falls from it to 0 along half a cosine; "step" divides it by 10 at 62.5,
            75 and 87.5 percent of the training; "onecycle" rises to it over the first quarter,
            from a 25th, and falls to 0, both linearly, which takes fewer epochs (Smith and Topin
            2018, who change the momentum too).
        weight_decay: on all parameters.
        warmup: epochs over which the weight of the distillation terms rises linearly from 0; None
            is a twelfth of the epochs, as in 20 of 240.
        augment: random crops and mirror images.
        crops: whether augmentation crops; if not, it mirrors alone.
        amp: mixed precision: float16 with loss scaling on CUDA, bfloat16 elsewhere.
        record_every: steps from one captured step to the next.
        record_rows: most rows captured of a step; None captures all.
        record_layers: layers of the student, or "logits", at which the terms' gradients are taken
            on captured steps; see ``Recorder``.
        record_regions: samples of a captured step whose region logits are kept; None keeps none.
        region_scales: of the regions kept, where the loss has no scales of its own.
        seed: of weights, order and augmentation.

    Raises:
        ValueError: a number that cannot be trained with.
    """

    epochs: int = 12
    batch_size: int = 64
    learning_rate: int | float = 0.05
    schedule: str = "cosine"
    weight_decay: int | float = 5e-4
    warmup: int | float | None = None
    augment: bool = True
    crops: bool = True
    amp: bool = False
    record_every: int = 50
    record_rows: int | None = None
    record_layers: tuple[str, ...] = ()
    record_regions: int | None = None
    region_scales: tuple[int, ...] = (1, 2, 4)
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"epochs": 1, "batch_size": 2, "record_every": 1, "seed": 0}
        least |= {"record_rows": 1, "record_regions": 1}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in least and value is not None and value < least[field.name]:
                raise ValueError(f"{field.name} must be at least {least[field.name]}, got {value}")
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"learning_rate must be above 0, got {self.learning_rate}")
        if not self.weight_decay >= 0 or not (self.warmup or 0) >= 0:
            raise ValueError(
                f"weight_decay and warmup must not be negative, got {self.weight_decay} and "
                f"{self.warmup}"
            )
        if self.schedule not in ("cosine", "step", "onecycle"):
            raise ValueError(f"schedule is 'cosine', 'step' or 'onecycle', got {self.schedule!r}")

    def rate(self, done: int | float) -> float:
        """Return the learning rate after a part ``done`` in [0, 1] of the training."""
        if self.schedule == "cosine":
            return self.learning_rate * (1 + cos(pi * done)) / 2
        if self.schedule == "onecycle":
            risen = START + (1 - START) * done / RISE
            return self.learning_rate * min(risen, (1 - done) / (1 - RISE))
        return self.learning_rate * 0.1 ** sum(done >= milestone for milestone in MILESTONES)

    def ramp(self, epoch: int | float) -> float:
        """Return the weight in [0, 1] of the distillation terms, ``epoch`` with its fraction."""
        length = self.epochs / 12 if self.warmup is None else self.warmup
        return 1.0 if length == 0 else min(epoch / length, 1.0)

    def kept_scales(self, loss: Loss) -> tuple[int, ...]:
        """Return the scales of the regions to keep: the loss's, else those set; () to keep none."""
        return () if self.record_regions is None else loss.scales or self.region_scales

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain JSON values, layers and scales as one text."""
        scales = ", ".join(map(str, self.region_scales))
        layers = ", ".join(self.record_layers)
        return asdict(self) | {"record_layers": layers, "region_scales": scales}
