"""Train students with the rule's loss and with the papers' defaults, on drawn letters.

    python scripts/check_suggestions.py --out suggestions.csv

One teacher (resnet14, 6200 images) is trained; the rule chooses a loss from images that no
network is trained on or measured on. Then, seed by seed, students (resnet8, half of the images)
are trained with each loss from the same start, on the same images in the same order, and measured
on 1550 others. Printed are the accuracies' means and the paired differences between the rule's
and each default, both with 95 % t intervals over the seeds: they cover the students' starts and
orders, not other teachers, images or networks.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from measures.students import print_spreads, train_students, train_teacher

import kdanalysis as kd
from kdanalysis.data import Images, load_data
from kdanalysis.training import Fit, Settings

DEFAULTS = (
    "kd:temperature=4",
    "dkd:alpha=1,beta=8,temperature=4",
    "gdkd:k=5,weights=1/1/8,temperature=4",
)


@torch.inference_mode()
def suggestions(teacher: Fit) -> tuple[pd.DataFrame, str]:
    """Diagnose the teacher on letters of another seed; the candidates, and the rule's loss."""
    count, size = len(teacher.data.train), teacher.data.train.image_shape[-1]
    other = load_data("glyphs", image_size=size, seed=1, limit=count).valid
    fresh = Images(other.pixels, other.labels, teacher.data.mean, teacher.data.std, mirror=False)
    model = teacher.model.eval()
    logits = torch.cat([model(x) for x, _, _ in fresh.batches(500)])
    study = kd.diagnose({"teacher_logits": logits.numpy(), "target": fresh.labels})
    table = study.tables["candidates"]
    return table, table.set_index("candidate").loss["the rule's"]


def main() -> None:
    """Train, print, and write one row a seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="students a loss, at least 2")
    parser.add_argument("--first-seed", type=int, default=0, help="of the students")
    parser.add_argument("--epochs", type=int, default=8, help="of every student")
    parser.add_argument("--teacher-epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=6200, help="of the teacher; half are theirs")
    parser.add_argument("--out", type=Path, help="a CSV file of all accuracies")
    options = parser.parse_args()
    data = load_data("glyphs", image_size=16, limit=options.images)
    few, train = options.images // 2, data.train
    part = Images(train.pixels[:few], train.labels[:few], data.mean, data.std, mirror=False)
    settings = Settings(options.epochs, batch_size=32, augment=False, record_every=10**9)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "teacher.pt"
        taught = Settings(options.teacher_epochs, learning_rate=0.1, augment=False)
        teacher = train_teacher(data, "resnet14", taught, path)
        table, suggested = suggestions(teacher)
        print(table[["candidate", "loss", "cosine", "multiplier"]].to_string(index=False))
        print(f"teacher {100 * teacher.history[-1]:.2f} %; the rule: {suggested}", flush=True)
        rows = []
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            seeded = replace(settings, seed=seed)
            losses = list(dict.fromkeys((suggested, *DEFAULTS)))
            rows.append(train_students(replace(data, train=part), path, seeded, losses))
            print(seed, *(f"{value:.4f}" for value in rows[-1].values()), flush=True)
    found = pd.DataFrame(rows)
    print_spreads(found, suggested)
    if options.out:
        found.to_csv(options.out, index_label="run")


if __name__ == "__main__":
    main()
