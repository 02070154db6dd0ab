"""Train students with several losses on images of your own, seed by seed, and compare them.

    python scripts/compare_students.py --data images/ --losses kd dkd gdkd --seeds 3
    python scripts/compare_students.py --data images/ --losses kd dkd --stones kd dkd
    python scripts/compare_students.py --data images/ --regions --out regions.csv

``--stones`` adds students trained with their stepping stones (arXiv 2411.01547) around a loss.
``--regions`` takes the losses of an ablation of SDD (arXiv 2403.13512) around KD: consistent part
alone, complementary part alone and both; scales {1}, {1, 2} and {1, 2, 4}; weights 1 to 8.

One teacher is trained, or read from a checkpoint of these classes. Then, seed by seed, a student a
loss is trained from the same start, on the same images in the same order, and measured on the
validation images. Printed are mean accuracies and the paired differences of the first loss to the
others, both with 95 % t intervals over the seeds: they cover the students' starts and orders, not
other teachers, images or networks. Every seed is written as soon as it is there.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from measures.students import print_spreads, train_students, train_teacher

from kdanalysis.data import DataSplits, Images, load_data, make_splits
from kdanalysis.training import Settings, Stones

REGIONS = (
    "kd",  # scales {1}
    "sdd-kd:scales=1/2",
    "sdd-kd:complementary_weight=0",
    "sdd-kd:consistent_weight=0",
    *(f"sdd-kd:complementary_weight={weight}" for weight in (1, 2, 4, 8)),
)


def only(data: DataSplits, count: int) -> DataSplits:
    """Keep the first classes of a data set."""

    def part(images: Images) -> tuple:
        chosen = images.labels < count
        return images.pixels[torch.from_numpy(chosen).nonzero()[:, 0]], images.labels[chosen]

    name = f"{data.name}, {count} classes"
    parts = part(data.train), part(data.valid)
    return make_splits(name, data.classes[:count], *parts, mirror=data.train.mirror)


def main() -> None:
    """Train, print, and write one row a seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="glyphs, digits, or a path of images")
    parser.add_argument("--losses", nargs="+", default=["kd", "dkd", "gdkd"], metavar="LOSS")
    parser.add_argument("--stones", nargs="+", default=[], metavar="LOSS", help="with stones")
    parser.add_argument("--regions", action="store_true", help="the losses of SDD's ablation")
    parser.add_argument("--classes", type=int, help="keep only the first so many")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--teacher", default="resnet20", help="a network, or a checkpoint")
    parser.add_argument("--student", default="resnet8")
    parser.add_argument("--epochs", type=int, default=6, help="of every student")
    parser.add_argument("--teacher-epochs", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=3, help="students a loss, at least 2")
    parser.add_argument("--out", type=Path, help="a CSV file of all accuracies")
    options = parser.parse_args()
    data = load_data(options.data, image_size=options.image_size)
    data = only(data, options.classes) if options.classes else data
    losses = list(REGIONS if options.regions else options.losses)
    settings = Settings(options.epochs, options.batch_size, 0.1, record_every=10**9)
    print(f"{data.name}: {len(data.train)} training images, {len(data.valid)} to validate on")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        teacher = Path(options.teacher)
        if teacher.suffix not in (".pt", ".pth"):
            teacher = Path(folder) / "teacher.pt"
            taught = replace(settings, epochs=options.teacher_epochs)
            fit = train_teacher(data, options.teacher, taught, teacher)
            print(f"teacher {options.teacher}: {fit.history[-1]:.2%}", flush=True)
        for seed in range(options.seeds):
            seeded = replace(settings, seed=seed)
            how = data, teacher, seeded
            row = train_students(*how, losses, options.student)
            if options.stones:
                found = train_students(*how, options.stones, options.student, Stones())
                row |= {f"stones around {loss}": value for loss, value in found.items()}
            rows.append(row)
            print(seed, *(f"{value:.4f}" for value in rows[-1].values()), flush=True)
            if options.out:
                pd.DataFrame(rows).to_csv(options.out, index_label="seed")
    print_spreads(pd.DataFrame(rows), losses[0])


if __name__ == "__main__":
    main()
