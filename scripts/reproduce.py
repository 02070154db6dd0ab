"""Train the matrix of students behind the notebooks: losses x seeds, one teacher, your images.

    python scripts/reproduce.py --data images/ --budget 600 --out reproduced
    python scripts/reproduce.py --data images/ --teachers teachers/ --budget 60 --resume

The teacher is one of the checkpoints in ``--teachers``, or a network that is trained first, until
its mean confidence on the training images is at least 0.8. Images are mirrored, not cropped, so
that its logits are computed once. Every loss is trained with one seed first, then with the next.
Told beforehand is how long it will take here. What the budget does not hold is left out: epochs, as
long as one seed of every loss does not fit, then seeds; ``--resume`` goes on with another budget,
and after a kill. The column ``shortened`` of every table says what is missing.

OUT/results holds small tables and the manifest: accuracies with paired 95 % t intervals over seeds
(they cover the students' starts and orders, not other teachers, images or networks), the relations
among the non-top classes on validation images with what step, weight and partition each do to them,
the terms' shares, norms, conflicts and directions by step, ladders, and the teachers' cards.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from measures.matrix import MATRIX, STUDENT, Matrix, fewer, log_odds, sure_teacher
from measures.results import write
from scipy.special import expit

from kdanalysis.data import DataSplits, load_data
from kdanalysis.training import SUFFIXES, CachedTeacher, Settings, load_network


def main() -> None:
    """Plan, train what the budget holds, and write the tables."""
    options, start = parse(), time.monotonic()
    data = read_data(options)
    matrix, plan, paths = prepare(options, data)
    epoch = matrix.seconds()
    budget = 60 * options.budget - (time.monotonic() - start)
    plan = settle(options.out / "plan.json", plan, sum(epoch.values()), budget)
    matrix = replace(matrix, settings=replace(matrix.settings, epochs=plan["epochs"]))
    needs = {name: plan["epochs"] * seconds for name, seconds in epoch.items()}
    left = [one for one in matrix if matrix.result(*one) is None]
    minutes = sum(needs[name] for name, _ in left) / 60
    print(
        f"{len(left)} trainings of {plan['epochs']} epochs are left: about {minutes:.0f} minutes "
        f"here, {budget / 60:.0f} are in the budget",
        flush=True,
    )
    for name, seed in left:
        if time.monotonic() - start + needs[name] > 60 * options.budget:
            print(f"the budget does not hold {name}, seed {seed}: go on with --resume")
            break
        found = matrix.train(name, seed)
        print(
            f"{(time.monotonic() - start) / 60:6.1f} min  {name}, seed {seed}: accuracy "
            f"{found['accuracy']:.4f}, {found['cpu_seconds']:.0f} CPU s",
            flush=True,
        )
        if name == list(matrix.losses)[-1] and (name, seed) != left[-1]:
            write(matrix, plan, paths)
    write(matrix, plan, paths)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="glyphs, digits, or a path of images")
    parser.add_argument("--teachers", type=Path, help="a folder of checkpoints")
    parser.add_argument(
        "--teacher",
        help="one of these by its first letters, the first if not given; or a network to train",
    )
    parser.add_argument("--budget", type=float, required=True, metavar="MINUTES")
    parser.add_argument("--resume", action="store_true", help="go on with what is in --out")
    parser.add_argument("--out", type=Path, default=Path("reproduced"))
    parser.add_argument("--classes", nargs="+", help="the first so many, or names")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--images", type=int, default=10_000, help="to train on, at most")
    parser.add_argument("--epochs", type=int, default=10, help="of every student")
    parser.add_argument("--teacher-epochs", type=int, default=30, help="at first, where trained")
    parser.add_argument("--seeds", type=int, default=3, help="students a loss")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--record-every", type=int, default=25, help="steps")
    parser.add_argument(
        "--losses",
        nargs="+",
        metavar="LOSS",
        help=f"names, or losses of your own, blocks:LOSS with stepping stones; {', '.join(MATRIX)}",
    )
    return parser.parse_args()


def read_data(options: argparse.Namespace) -> DataSplits:
    """Return the images: some classes, at most so many to train on, all others to validate on."""
    classes = options.classes
    if classes and len(classes) == 1:
        classes = int(classes[0])
    whole = load_data(options.data, image_size=options.image_size, classes=classes)
    data = fewer(whole, options.images)
    print(f"{data.name}: {len(data.train)} training images, {len(data.valid)} to validate on")
    return data


def prepare(options: argparse.Namespace, data: DataSplits) -> tuple[Matrix, dict, list[Path]]:
    """Return the matrix, what is planned, and the checkpoints of all teachers."""
    out, device = options.out, torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if (out / "plan.json").is_file() and not options.resume:
        sys.exit(f"{out} holds trainings already: give --resume, or another --out")
    settings = Settings(
        epochs=options.epochs,
        batch_size=options.batch_size,
        crops=False,
        record_every=options.record_every,
    )
    if options.teachers is None:
        how = options.teacher or "resnet20", options.teacher_epochs, settings
        paths = [sure_teacher(data, *how, out, device)]
    else:
        paths = [p for p in sorted(options.teachers.iterdir()) if p.suffix in SUFFIXES]
    chosen = [p for p in paths if not options.teachers or p.name.startswith(options.teacher or "")]
    if not chosen:
        sys.exit(f"there is no checkpoint {options.teacher or ''}* in {options.teachers}")
    losses = {name: MATRIX.get(name, name) for name in options.losses or MATRIX}
    matrix = Matrix(data, chosen[0], losses, settings, options.seeds, out, device)
    if any("{median}" in text for text in losses.values()):
        median = f"{halves(matrix):.17g}"
        losses = {name: text.replace("{median}", median) for name, text in losses.items()}
    plan = {"data": data.name, "classes": data.classes, "training images": len(data.train)}
    plan |= {"validation images": len(data.valid), "teacher": chosen[0].name, "student": STUDENT}
    plan |= {"epochs wanted": options.epochs, "seeds wanted": options.seeds, "losses": losses}
    return replace(matrix, losses=losses), plan | {"settings": settings.to_json()}, paths


def settle(path: Path, plan: dict, seconds: float, budget: float) -> dict:
    """Return the plan with the epochs that all trainings share, as the first sitting set them.

    Args:
        path: where the plan is kept.
        plan: what is wanted.
        seconds: that one epoch of every loss takes.
        budget: in seconds; it is to hold every loss once, if with fewer epochs.
    """
    plan = json.loads(json.dumps(plan))
    if path.is_file():
        before = json.loads(path.read_text())
        for key in plan.keys() - {"seeds wanted"}:
            if before[key] != plan[key]:
                sys.exit(f"{path} is another plan: {key} was {before[key]!r:.200}")
        return before | plan
    epochs = max(1, min(plan["epochs wanted"], int(budget / seconds)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(plan | {"epochs": epochs}, indent=2))
    return plan | {"epochs": epochs}


def halves(matrix: Matrix) -> float:
    """Return the median of what the teacher gives the labels of all images and mirror images."""
    data, device = matrix.data, matrix.device
    teacher = load_network(matrix.teacher, data).to(device).eval()
    seen = CachedTeacher(teacher, data.train, device, matrix.out / "cache", (), 0, True).logits
    odds = np.median([log_odds(view, data.train.labels) for view in seen])
    return float(expit(odds))


if __name__ == "__main__":
    main()
