"""Everything public, used as its annotations say: type checkers find nothing to report here.

``tests/test_typing.py`` has a checker read this file; it is never run.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import pandas as pd
import torch
from torch import Tensor, nn

import kdanalysis as kd
from kdanalysis.data import DataSplits, load_data
from kdanalysis.networks.zoo import build_model

Batches = Iterable[tuple[Tensor, Tensor, Tensor]]


class Distance(kd.Analyzer):
    """An analyzer of one's own."""

    noun, title = "distance", "Distance of the logits"
    needs = ("student_logits", "teacher_logits")

    def __init__(self) -> None:
        super().__init__()
        self.add_sum("distance")
        self.add_sum("count")

    @classmethod
    def for_setting(cls, setting: kd.Setting) -> "Distance | None":
        return cls() if setting.num_classes > 2 and setting.last_quarter >= 0 else None

    def update(self, student_logits: Tensor, teacher_logits: Tensor) -> None:
        kept = self.keep(teacher_logits, student_logits)
        apart = (student_logits[kept] - teacher_logits[kept]).double().norm(dim=-1)
        self.accumulate(distance=apart.sum(), count=kept.sum())

    def table(self) -> pd.DataFrame:
        return pd.DataFrame({"distance": [float(self.states["distance"])]})


@Distance.reads()
def distance_reading(table: pd.DataFrame) -> kd.Reading:
    return kd.Reading("They lie apart.", f"{table.distance.mean():.2f}")


class Squares(kd.Loss, name="squares"):
    """A loss of one's own."""

    colours: ClassVar[dict[str, str]] = {"squares": "sky"}
    needs_target = False

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight
        self.term_weights = {"squares": weight}

    def values(
        self, student: Tensor, teacher: Tensor, target: Tensor, ramp: float
    ) -> dict[str, Tensor]:
        return {"squares": ramp * self.weight * (student - teacher).square().sum(-1) / 2}

    def slopes(
        self, student: Tensor, teacher: Tensor, target: Tensor, ramp: float
    ) -> dict[str, Tensor]:
        return {"squares": ramp * self.weight * (student - teacher)}


def losses() -> dict[str, kd.Loss]:
    auto: kd.GDKD = kd.GDKD(k=kd.AutoK(temperature=4.0), weights=(1, 1, 8), strategy="best")
    return {
        "kd": kd.KD(temperature=2),
        "dkd": kd.DKD(alpha=1.0, beta=8.0, temperature=4.0, partition="top1"),
        "gdkd": kd.GDKD(k=5, divergence="reverse"),
        "own": kd.Sum(kd.CrossEntropy(), Squares(weight=0.5)),
        "auto": auto,
        "sum": kd.Sum(kd.CrossEntropy(), kd.Confident(kd.GDKD3(k=4), 0.9, "sure"), kd.NKD()),
        "regions": kd.Sum(kd.SDD(kd.LogitStandardized(kd.KD()), scales=(1, 2))),
        "blocks": kd.Sum(kd.Decoupled(kd.Target(), (1.0, 0.0, 8.0), names=("a", None, "b"))),
    }


def terms(student: Tensor, teacher: Tensor, target: Tensor) -> tuple[float, list[str]]:
    read = kd.parse_loss("gdkd:k=5,weights=1/1/2+ce", temperature=4.0)
    values: dict[str, Tensor] = read(student, teacher, target)
    closed: dict[str, Tensor] = read.gradients(student, teacher, target, ramp=0.5)
    names: tuple[str, ...] = read.terms
    weights: dict[str, float] = read.term_weights
    sums = [float(values[name].mean() + closed[name].norm()) * weights[name] for name in names]
    return sum(sums) * kd.linear_ramp(3, 20), list(closed)


def groups(teacher: Tensor, target: Tensor) -> list[Tensor]:
    rules = (kd.Target(), kd.Top1(), kd.TopK(5), kd.Top1TopK(3), kd.AutoK(), kd.Groups((0, 0, 1)))
    return [rule(teacher, target) for rule in rules]


def training(student: nn.Module, teacher: nn.Module, loader: Batches, folder: Path) -> pd.DataFrame:
    loss = kd.Sum(kd.CrossEntropy(), kd.GDKD(k=5, weights=(1, 2, 8)))
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    with kd.Recorder(
        folder / "run",
        loss,
        student=student,
        teacher=teacher,
        schedule=kd.every(50),
        max_rows=256,
        seed=1,
        listener=lambda captured: print(captured.step, captured.residual.max()),
    ) as recorder:
        for x, y, index in loader:
            recorder.epoch += 1
            teacher(x), student(x)
            recorder.loss(y, sample_id=index, ramp=0.5).backward()
            recorder.end_step()
            optimizer.step()
            optimizer.zero_grad()
        recorder.flush()
    run = kd.open_run(recorder.path)
    return pd.concat([run.table("magnitude"), run.tables(["share"], device="cpu")["share"]])


def watching(student: nn.Module, loader: Batches, saved: Tensor) -> None:
    for schedule in (kd.at([0, 10]), kd.logarithmic(per_decade=5), lambda step: step < 3):
        with kd.Recorder("runs/own", student=student, schedule=schedule) as recorder:
            for x, y, index in loader:
                student(x)
                recorder.observe(y, index, teacher=saved[index])


def regions(teacher: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with kd.RegionTap(teacher) as tap:
        teacher(x)
        found: Tensor = tap.take().regions((1, 2, 4))
    slopes = kd.SDD(kd.DKD(), scales=(1, 2, 4)).gradients(found, found, y)["consistent/tckd"]
    head = nn.Linear(64, 10)
    maps = kd.region_logits(torch.randn(2, 64, 8, 8), head, scales=(1, 2), official_pooling=True)
    back = kd.feature_gradients(slopes, head, (2, 64, 8, 8), scales=(1, 2, 4))
    size: int = kd.region_bytes(16, 100, (1, 2, 4))
    columns = list(kd.read_regions([(x, y)], teacher, scales=(1, 2)))
    return kd.region_cases(maps, y) + back.sum() + size + len(columns)


def stones(student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    ladder = kd.Ladder(student, teacher, x, ["layer1", "layer2"], ["stage1", "stage2"], light=True)
    loss = kd.Blockwise(kd.DKD(), blocks=2, decay=0.5)
    out = ladder(x)
    fitted = kd.fit_connectors(student, teacher, [x], strength=1e-3)
    print(fitted)
    return sum(loss(out.student, out.teacher, y).values(), torch.zeros(())).mean()


def opened(path: Path) -> pd.DataFrame:
    run = kd.open(path)
    run.figure("magnitude", picture=0)
    run.report("page.html")
    names: tuple[str, ...] = run.names
    columns: tuple[str, ...] = kd.load_logits(path).columns
    print(names, columns, kd.load_regions(path), kd.open({"teacher_logits": torch.randn(4, 3)}))
    return pd.concat([run.table("teacher"), *run.tables(["mass"]).values()])


def studies(path: Path, images: DataSplits) -> None:
    card = kd.diagnose(path, temperatures=(1.0, 4.0), device="cpu")
    against = kd.compare([path], "kd,dkd,gdkd:k=5", match_norm=True)
    labelled = kd.compare({"a": path, "b": "runs/b"}, {"kd": kd.KD(), "dkd": kd.DKD()})
    swept = kd.sweep_study(path, ks=[1, 5], weights=(1.0, 1.0, 8.0))
    cells = kd.regions("teacher.pt", images, "student.pt", loss=kd.DKD(), scales=(1, 2))
    between = kd.ladder(build_model("resnet8", 10), "teacher.pt", load_data("glyphs"), loss="dkd")
    for study in (card, against, labelled, swept, cells, between):
        tables: dict[str, pd.DataFrame] = study.tables
        readings: dict[str, kd.Reading] = study.readings
        for name in tables:
            print(readings[name].sentence, readings[name].number, study.figure(name, run="a"))
        page: str = study.html()
        study.save(Path("out") / str(len(page)), overwrite=True)


def sweeps(student: Tensor, teacher: Tensor) -> tuple[pd.DataFrame, dict[str, Tensor]]:
    frame = kd.sweep(student.numpy(), teacher.numpy(), temperatures=(1, 2.5), ks="all")
    return frame, kd.sweep_samples(student, teacher, temperature=4, ks=[1, 5])


def nouns(table: pd.DataFrame) -> list[str]:
    mass = kd.analyzers["mass"]
    mass.draw(table, ax=kd.new_axes(), names=["cat", "dog"])
    return [f"{name}: {kd.analyzers[name].title}" for name in kd.analyzers] + [kd.__version__]


def of_tokens(student: Tensor, teacher: Tensor, labels: Tensor, head: nn.Linear) -> Tensor:
    rows: kd.Tokens = kd.tokens(student, teacher, labels, shift=True)
    with kd.Recorder("runs/words", kd.KD(2.0), keep=(kd.TopK(64),)) as recorder:
        hidden = kd.Projected(rows.student, head.weight, head.bias, cap=30.0)
        recorder.observe(rows.target, rows.sample_id, student=hidden, teacher=rows.teacher)
        loss: Tensor = recorder.loss(rows.target, student=rows.student, teacher=rows.teacher)
    return loss
