"""The sweep over every k against a loop of backward passes."""

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

import kdanalysis as kd
from measures.closed_form import plain_gdkd
from measures.timing import alternate, seconds


def plain_sweep(
    student: torch.Tensor, teacher: torch.Tensor, ks: list[int], temperatures: tuple
) -> list[list[float]]:
    """Means over samples for every (T, k): four values, five norms, the total's cosine to KD.

    Four ``backward()`` calls a k in batches of 4096, on the losses as published.
    """
    table = []
    for temperature in temperatures:
        for k in ks:
            sums = torch.zeros(10, device=student.device)
            for batch in zip(student.split(4096), teacher.split(4096), strict=True):
                sums += len(batch[0]) * plain_row(*batch, k, temperature)
            table.append((sums / len(student)).tolist())
    return table


def plain_row(student, teacher, k: int, temperature: float) -> torch.Tensor:
    """One batch of the plain sweep: means of what ``plain_sweep`` lists."""
    student = student.clone().requires_grad_()
    log_s, log_t = (F.log_softmax(x / temperature, dim=1) for x in (student, teacher))
    kd_value = F.kl_div(log_s, log_t, reduction="batchmean", log_target=True) * temperature**2
    values, gradients = [*plain_gdkd(student, teacher, k, temperature), kd_value], []
    for value in values:
        student.grad = None
        value.backward(retain_graph=True)
        gradients.append(len(student) * student.grad)
    high, low_top, low_other, whole = gradients
    total = high + low_top + 8 * low_other
    norms = [gradient.norm(dim=1).mean() for gradient in (*gradients, total)]
    cosine = F.cosine_similarity(total, whole, dim=1).mean()
    return torch.stack([*(value.detach() for value in values), *norms, cosine])


PLAIN_COLUMNS = [
    *("value_high", "value_low_top", "value_low_other", "value_kd", "norm_high", "norm_low_top"),
    *("norm_low_other", "norm_kd", "norm_total", "cosine_total_kd"),
]


def sweep(device: torch.device, repetitions: int, full: bool = False) -> dict[str, dict]:
    """All k of 50 000 x 100 logits at one temperature and at four, and of 4000 x 1000 at one.

    Against ``plain_sweep``; ours runs in float64 and in full. The plain way, in float32, takes
    minutes: unless ``full`` it runs over 5 k and at most 8192 rows, and its time is scaled up in
    proportion. Last, a few k at 32 000 and 152 000 classes, in milliseconds a token.
    """
    results = {
        name: against_plain(device, repetitions, *size, ladder, full)
        for name, size, ladder in (
            ("sweep", (50_000, 100), (4.0,)),
            ("sweep_4_temperatures", (50_000, 100), (1.0, 2.0, 4.0, 8.0)),
            ("sweep_1000_classes", (4000, 1000), (4.0,)),
        )
    }
    for classes in (32_000, 152_000):
        student, teacher = pair(64, classes, device)
        call = partial(kd.sweep, student, teacher, (1.0,), [1, 8, 64])
        call()
        times = sorted(seconds(call, device) for _ in range(repetitions))
        results[f"few k, {classes} classes"] = {
            "ours_ms_per_token": 1e3 * times[len(times) // 2] / len(student)
        }
    return results


def against_plain(
    device: torch.device,
    repetitions: int,
    samples: int,
    classes: int,
    ladder: tuple[float, ...],
    full: bool,
) -> dict[str, object]:
    """Every k at the temperatures of the ladder, against the plain way."""
    student, teacher = pair(samples, classes, device)
    few = [1, 5, 25, 50, 75]
    ks, rows = (list(range(1, classes)), samples) if full else (few, min(samples, 8192))
    factor = (classes - 1) / len(ks) * samples / rows
    part, seen = (student[:rows], teacher[:rows]), (student[:8192], teacher[:8192])
    frame = kd.sweep(*seen, ladder, few)
    plain = plain_sweep(*seen, few, ladder)
    np.testing.assert_allclose(frame[PLAIN_COLUMNS], plain, rtol=2e-3, atol=2e-4)
    times = alternate(
        lambda: kd.sweep(student, teacher, ladder),
        lambda: plain_sweep(*part, ks, ladder),
        device,
        repetitions,
    )
    return {
        "ours_ms": times["ours_ms"],
        "plain_ms": factor * times["plain_ms"],
        "plain_over_ours": factor * times["plain_over_ours"],
        "plain_measured_on": f"{len(ks)} of {classes - 1} k, {rows} of {samples} rows",
        "plain_scaled_by": factor,
    }


def pair(samples: int, classes: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a student that resembles its teacher."""
    torch.manual_seed(0)
    teacher = 3 * torch.randn(samples, classes, device=device)
    return teacher + 2 * torch.randn(samples, classes, device=device), teacher


def imagenet(device: torch.device, repetitions: int) -> dict[str, dict]:
    """ImageNet's size, 1.28 million x 1000, all k, four temperatures: seconds on a CUDA device.

    Batches are made on the device. On a CPU 2560 samples are swept and nothing is scaled up.
    """
    rows, batch = (1_280_000, 16_384) if device.type == "cuda" else (2560, 1280)
    generator = torch.Generator(device).manual_seed(0)
    teacher = 3 * torch.randn(batch, 1000, device=device, generator=generator)
    student = teacher + 2 * torch.randn(batch, 1000, device=device, generator=generator)

    def whole() -> None:
        analyzer = kd.analyzers["sweep"](1000).to(device)
        for start in range(0, rows, batch):
            size = min(batch, rows - start)
            analyzer.update(student[:size], teacher[:size])

    whole()
    times = sorted(seconds(whole, device) for _ in range(repetitions))
    return {"all_k_4_temperatures": {"rows": rows, "seconds": times[len(times) // 2]}}
