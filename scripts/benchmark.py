"""Measures what the toolkit promises, each as a ratio against the plain way in the same process.

    python scripts/benchmark.py --json benchmark.json
    python scripts/benchmark.py --only closed_form --device cuda
    python scripts/benchmark.py --only sweep --full --repetitions 1

Every ratio is the median over alternating repetitions (ours, plain, ours, plain, ...). The plain
way is written out here beside ours, and checked to give the same numbers before anything is timed.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import kdanalysis as kd
from kdanalysis.models import build_model
from kdanalysis.store.info import RunInfo
from kdanalysis.store.writer import PartWriter


def wait(device: torch.device) -> None:
    """Wait until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """Return how long one call takes, the device's work included."""
    wait(device)
    start = time.perf_counter()
    call()
    wait(device)
    return time.perf_counter() - start


def alternate(
    ours: Callable, plain: Callable, device: torch.device, repetitions: int, inner: int = 1
) -> dict[str, float]:
    """Time both in turn; medians of seconds a call, and of the ratios pair by pair."""
    ours(), plain()
    pairs = []
    for _ in range(repetitions):
        a, b = (
            seconds(lambda call=call: [call() for _ in range(inner)], device) / inner
            for call in (ours, plain)
        )
        pairs.append((a, b))
    return {
        "ours_ms": 1e3 * statistics.median(a for a, _ in pairs),
        "plain_ms": 1e3 * statistics.median(b for _, b in pairs),
        "plain_over_ours": statistics.median(b / a for a, b in pairs),
        "ours_over_plain": statistics.median(a / b for a, b in pairs),
    }


def plain_gdkd(student, teacher, k: int, temperature: float) -> list[torch.Tensor]:
    """The three terms as published code computes them: masks of -1000, sums of probabilities."""
    top = torch.zeros_like(teacher, dtype=torch.bool)
    top = top.scatter(1, teacher.topk(k, dim=1).indices, True)
    soft_s, soft_t = student / temperature, teacher / temperature
    s, t = F.softmax(soft_s, dim=1), F.softmax(soft_t, dim=1)
    mass_s, mass_t = (
        torch.cat([(x * m).sum(1, keepdim=True) for m in (top, ~top)], dim=1) for x in (s, t)
    )
    high = F.kl_div(mass_s.log(), mass_t, reduction="batchmean") * temperature**2
    low = []
    for outside in (~top, top):
        log_s, log_t = (F.log_softmax(x - 1000.0 * outside, dim=1) for x in (soft_s, soft_t))
        value = F.kl_div(log_s, log_t, reduction="batchmean", log_target=True)
        low.append(value * temperature**2)
    return [high, *low]


def closed_form(device: torch.device, repetitions: int) -> dict[str, dict]:
    """Per-term logit gradients of GDKD against one ``backward()`` a term on one forward pass.

    The forward pass is once the published way of computing the terms and once ours.
    """
    loss, results = kd.GDKD(k=5, weights=(1, 1, 1)), {}
    for n, c in ((64, 100), (256, 100), (4096, 100), (256, 1000)):
        student, teacher = 3 * torch.randn(2, n, c, device=device)
        target = torch.randint(c, (n,), device=device)

        def ours(problem=(student, teacher, target)):
            return list(loss.gradients(*problem).values())

        def plain(student=student, teacher=teacher):
            student = student.clone().requires_grad_()
            gradients = []
            for value in plain_gdkd(student, teacher, 5, 4.0):
                student.grad = None
                value.backward(retain_graph=True)
                gradients.append(student.grad)
            return gradients

        def backward(problem=(student, teacher, target)):
            student = problem[0].clone().requires_grad_()
            gradients = []
            for value in loss(student, *problem[1:]).values():
                student.grad = None
                value.mean().backward(retain_graph=True)
                gradients.append(student.grad)
            return gradients

        inner = max(1, 200_000 // (n * c))
        for name, other in (("published", plain), ("our values", backward)):
            for a, b in zip(ours(), other(), strict=True):
                torch.testing.assert_close(a, n * b, rtol=1e-3, atol=1e-4)
            figures = alternate(ours, other, device, repetitions, inner)
            results[f"{n}x{c} against backward over {name}"] = figures
    return results


def capture(device: torch.device, repetitions: int) -> dict[str, dict]:
    """A training step of resnet20 at batch 64, captured, against the bare step."""
    results = {}
    for name, every, steps in (("every_step", 1, 6), ("every_50th_step", 50, 50)):
        with tempfile.TemporaryDirectory() as folder:
            step = {side: _Step(device) for side in ("ours", "plain")}
            recorder = kd.Recorder(
                Path(folder) / "run",
                step["ours"].loss,
                student=step["ours"].student,
                teacher=step["ours"].teacher,
                schedule=kd.every(every),
            )

            def ours(run=step["ours"], recorder=recorder, steps=steps):
                for _ in range(steps):
                    run(lambda s, t, y: recorder.loss(y))

            def plain(run=step["plain"], steps=steps):
                for _ in range(steps):
                    run(lambda *problem: sum(run.loss(*problem).values()).mean())

            with recorder:
                results[name] = alternate(ours, plain, device, repetitions)
            equal = zip(
                step["ours"].student.parameters(), step["plain"].student.parameters(), strict=True
            )
            assert all(torch.equal(a, b) for a, b in equal), "capture changed the training"
    return results


class _Step:
    """One training step: teacher, student, loss, backward, optimizer."""

    def __init__(self, device: torch.device) -> None:
        torch.manual_seed(0)
        self.student = build_model("resnet20", 100).to(device)
        self.teacher = build_model("resnet20", 100).to(device).eval().requires_grad_(False)
        self.loss = kd.Sum(kd.CrossEntropy(), kd.GDKD())
        self.optimizer = torch.optim.SGD(self.student.parameters(), lr=0.01, momentum=0.9)
        self.x = torch.randn(64, 3, 32, 32, device=device)
        self.y = torch.randint(100, (64,), device=device)

    def __call__(self, loss: Callable) -> None:
        with torch.no_grad():
            teacher = self.teacher(self.x)
        loss(self.student(self.x), teacher, self.y).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def store(device: torch.device, repetitions: int) -> dict[str, dict]:
    """Writing batches of 256 x 1000 as float16, and the size against ``np.savez`` of float32."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((2, 256, 1000), dtype=np.float32)
    half = logits.astype(np.float16)
    batches = 200

    def write(folder: str) -> float:
        info, start = RunInfo(num_classes=1000), time.perf_counter()
        with PartWriter(Path(folder) / "run", 0, info) as writer:
            for step in range(batches):
                writer.write(_columns(step, half))
        return time.perf_counter() - start

    rates = []
    for _ in range(repetitions):
        with tempfile.TemporaryDirectory() as folder:
            rates.append(batches * half.nbytes / 1e6 / write(folder))
            files = [path for path in Path(folder).rglob("*") if path.is_file()]
            ours = sum(path.stat().st_size for path in files)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plain.npz"
        np.savez(path, **(_columns(0, logits)))
        plain = batches * path.stat().st_size
    return {
        "write": {"mb_per_s": statistics.median(rates)},
        "size": {"ours_mb": ours / 1e6, "plain_mb": plain / 1e6, "ours_over_plain": ours / plain},
    }


def _columns(step: int, logits: np.ndarray) -> dict[str, np.ndarray]:
    rows = np.arange(256)
    return {
        "step": np.full(256, step),
        "epoch": np.zeros(256, np.int32),
        "sample_id": rows,
        "target": rows % 1000,
        "teacher_logits": logits[0],
        "student_logits": logits[1],
    }


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
    """All 99 k of 50 000 x 100 logits, at one temperature and at four, against ``plain_sweep``.

    Ours runs in float64 and in full. The plain way, in float32, takes minutes: unless ``full`` it
    runs over 5 of the 99 k and 8192 of the rows, and its time is scaled up in proportion.
    """
    samples, classes, results = 50_000, 100, {}
    torch.manual_seed(0)
    teacher = 3 * torch.randn(samples, classes, device=device)
    student = teacher + 2 * torch.randn(samples, classes, device=device)
    ks, rows = (list(range(1, classes)), samples) if full else ([1, 5, 25, 50, 75], 8192)
    factor = (classes - 1) / len(ks) * samples / rows
    part = student[:rows], teacher[:rows]
    for name, ladder in (("sweep", (4.0,)), ("sweep_4_temperatures", (1.0, 2.0, 4.0, 8.0))):
        frame = kd.sweep(*(side[:8192] for side in part), ladder, [1, 5, 25, 50, 75])
        seen = plain_sweep(*(side[:8192] for side in part), [1, 5, 25, 50, 75], ladder)
        np.testing.assert_allclose(frame[PLAIN_COLUMNS], seen, rtol=2e-3, atol=2e-4)
        times = alternate(
            lambda ladder=ladder: kd.sweep(student, teacher, ladder),
            lambda ladder=ladder: plain_sweep(*part, ks, ladder),
            device,
            repetitions,
        )
        results[name] = {
            "ours_ms": times["ours_ms"],
            "plain_ms": factor * times["plain_ms"],
            "plain_over_ours": factor * times["plain_over_ours"],
            "plain_measured_on": f"{len(ks)} of 99 k, {rows} of {samples} rows",
            "plain_scaled_by": factor,
        }
    return results


MEASURES = {"closed_form": closed_form, "capture": capture, "store": store, "sweep": sweep}


def main() -> None:
    """Measure and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--only", choices=MEASURES, help="one measure instead of all")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repetitions", type=int, default=7, help="at least 5 for a median")
    parser.add_argument(
        "--full", action="store_true", help="the plain sweep in full, not scaled up from a part"
    )
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    figures = {"machine": describe(device)}
    for name in [arguments.only] if arguments.only else MEASURES:
        print(f"measuring {name} ...", file=sys.stderr)
        options = {"full": True} if name == "sweep" and arguments.full else {}
        figures[name] = MEASURES[name](device, arguments.repetitions, **options)
    text = json.dumps(figures, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


def describe(device: torch.device) -> dict[str, object]:
    """Return what the figures were measured on."""
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    main()
