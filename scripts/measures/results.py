"""The small tables that ``reproduce.py`` leaves, from what has been trained so far."""

import json
import platform
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import kdanalysis as kd
from kdanalysis.training import CachedTeacher, load_network
from measures.claims import interval, verdicts
from measures.matrix import Matrix, confidence, fewer, shortened, slug

HASH = re.compile(r"-[0-9a-f]{8}$")  # as torch.hub ends the names of its files
RUN_TABLES = (
    "magnitude",
    "share",
    "confidence",
    "conflict",
    "direction",
    "layers",
)  # by captured step
MOST_STEPS = 10  # of a training that tables tell apart: what lies between goes with the one before
STUDENT_TABLES = ("relation", "discrepancy")  # on the validation images
SHOWN = ("kd", "kd x 6", "dkd 1", "dkd 8", "gdkd 1/1/1", "gdkd 1/1/8", "sdd 1-2")
CELLS = 300  # validation images of which the regions are kept
LEAST = 0.02  # accuracies that differ by less are not told apart
FACTORS = {  # GDKD's claim, crossed: partition x weight x step
    "step, kd x 6 - kd": ("kd x 6", "kd"),
    "apart from kd's weight, dkd-top1 1 - kd": ("dkd-top1 1", "kd"),
    "weight, dkd-top1 8 - 1": ("dkd-top1 8", "dkd-top1 1"),
    "weight, gdkd 1/1/8 - 1/1/1": ("gdkd 1/1/8", "gdkd 1/1/1"),
    "partition at weight 1, gdkd - dkd-top1": ("gdkd 1/1/1", "dkd-top1 1"),
    "partition at weight 8, gdkd - dkd-top1": ("gdkd 1/1/8", "dkd-top1 8"),
}


def paired(one: pd.Series, other: pd.Series) -> dict[str, float]:
    """Mean difference over the seeds that both have, with its 95 % t interval; NaN for one seed."""
    found = (one - other).dropna()
    low, high = interval(found)
    return {"difference": found.mean(), "low": low, "high": high, "seeds": len(found)}


def differences(
    values: pd.DataFrame, pairs: Iterable[tuple[str, str, str]], least: float = 0.0
) -> pd.DataFrame:
    """Paired differences of losses, seed by seed.

    Args:
        values: a row a seed, a column a loss.
        pairs: a name, the loss, and the loss it is held against.
        least: a smaller difference is not claimed, whatever its interval.
    """
    rows = []
    for name, one, other in pairs:
        if not {one, other} <= {*values}:
            continue
        row = paired(values[one], values[other])
        seen = "seen" if row["low"] * row["high"] > 0 else "not seen"
        if seen == "seen" and abs(row["difference"]) < least:
            seen = f"not seen: less than {least:g}"
        seen = "one seed" if row["seeds"] < 2 else seen
        rows.append({"name": name, "student": one, "against": other, **row, "verdict": seen})
    return pd.DataFrame(rows)


def accuracies(results: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Every accuracy, and its paired differences to plain training and to KD."""
    rows = []
    for quantity in ("accuracy", "agreement"):
        values = results.pivot(index="seed", columns="student", values=quantity)
        pairs = [(quantity, a, b) for b in ("ce", "kd") for a in results.student.unique() if a != b]
        rows.append(differences(values, pairs, LEAST))
    return {"accuracy": results.drop(columns="name"), "accuracy_paired": pd.concat(rows)}


def factors(relation: pd.DataFrame) -> pd.DataFrame:
    """What step, weight and partition each do to the relations, notion by notion."""
    found = []
    for (notion, measure), part in relation.groupby(["notion", "measure"], sort=False):
        values = part.pivot(index="seed", columns="student", values="mean")
        table = differences(values, ((name, *pair) for name, pair in FACTORS.items()))
        found.append(table.assign(notion=notion, measure=measure))
    return pd.concat(found, ignore_index=True).rename(columns={"name": "factor"})


def collected(matrix: Matrix, results: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The tables of all runs and students, with the columns student and seed in front."""
    parts: dict[str, list[pd.DataFrame]] = {}
    for student, seed, name in results[["student", "seed", "name"]].itertuples(index=False):
        folder = matrix.folder(student, seed)
        run, logits = kd.open(folder / "runs" / name), kd.open(folder / "logits" / f"{name}.npz")
        run.source.most |= dict.fromkeys(run.source.most, MOST_STEPS)
        found = run.tables([noun for noun in RUN_TABLES if noun in run.names])
        found |= logits.tables([noun for noun in STUDENT_TABLES if noun in logits.names])
        others = [*(folder / "students").glob("*.csv"), *(folder / "tables").glob("*.csv")]
        found |= {path.name.split(".")[-2]: pd.read_csv(path) for path in others}
        for noun, table in found.items():
            table.insert(0, "student", student)
            table.insert(1, "seed", seed)
            parts.setdefault(noun, []).append(table)
    return {noun: pd.concat(tables, ignore_index=True) for noun, tables in parts.items()}


def teachers(matrix: Matrix, paths: Iterable[Path]) -> dict[str, pd.DataFrame]:
    """Accuracy and confidence of every teacher, and its card on the validation images."""
    data, rows, parts = matrix.data, [], {}
    for path in paths:
        network = HASH.sub("", path.stem)
        model = load_network(path, data).to(matrix.device).eval()
        for name, images in (("training", data.train), ("validation", data.valid)):
            how = matrix.device, matrix.out / "cache", (), 0, images is data.train
            logits = CachedTeacher(model, images, *how).logits[0]
            right = (logits.argmax(-1) == images.labels).mean()
            rows.append((network, name, right, confidence(logits), len(logits)))
        found = kd.diagnose({"teacher_logits": logits, "target": data.valid.labels}).tables
        for noun, table in found.items():
            parts.setdefault(noun, []).append(table.assign(network=network))
    columns = ["network", "images", "accuracy", "confidence", "n"]
    cards = {f"teacher_{noun}": pd.concat(tables) for noun, tables in parts.items()}
    return {"teachers": pd.DataFrame(rows, columns=columns), **cards}


def examples(matrix: Matrix, folder: Path) -> None:
    """Write what notebooks look at: validation logits of some students, cells of KD's; float16."""
    (folder / "logits").mkdir(exist_ok=True)
    known = {name: matrix.result(name, 0) for name in SHOWN if name in matrix.losses}
    for name, result in known.items():
        if result is None:
            continue
        path = matrix.folder(name, 0) / "logits" / f"{result['name']}.npz"
        with np.load(path, allow_pickle=False) as file:
            kept = halved({k: v for k, v in file.items() if not k.endswith("_features")}, matrix)
        np.savez_compressed(folder / "logits" / f"{slug(name)}.npz", **kept)
    if known.get("kd") is None:
        return
    some = fewer(matrix.data, None, CELLS).valid
    path = matrix.folder("kd", 0) / "students" / f"{known['kd']['name']}.pt"
    models = [load_network(one, matrix.data).eval() for one in (matrix.teacher, path)]
    scales = [m for m in (1, 2, 4) if 4 * m <= matrix.data.train.image_shape[-1]]
    rows = list(kd.read_regions(some.batches(100), *models, scales=scales))
    arrays = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    np.savez_compressed(folder / "regions.npz", **halved(arrays, matrix))


def halved(arrays: dict[str, np.ndarray], matrix: Matrix) -> dict[str, np.ndarray]:
    """Return what is kept of arrays: floats as float16, with the names of the classes."""
    kept = {k: v.astype(np.float16) if v.dtype.kind == "f" else v for k, v in arrays.items()}
    return kept | {"classes": np.array(matrix.data.classes)}


def write(matrix: Matrix, plan: dict, paths: Iterable[Path]) -> None:
    """Write every table of what is trained, and the manifest, into ``results``."""
    known = [matrix.result(name, seed) for name, seed in matrix]
    results = pd.DataFrame([one for one in known if one is not None])
    if results.empty:
        print("nothing is trained yet: no tables")
        return
    tables = accuracies(results) | collected(matrix, results) | teachers(matrix, paths)
    if not (table := factors(tables["relation"])).empty:
        tables["relation_factors"] = table
    tables["claims"] = verdicts(tables)
    folder, cut = matrix.out / "results", shortened(matrix, plan)
    folder.mkdir(exist_ok=True)
    for noun, table in tables.items():
        table.assign(shortened=cut).to_csv(
            folder / f"{noun}.csv", index=False, float_format="%.6g", lineterminator="\n"
        )
    examples(matrix, folder)
    manifest = plan | {
        "shortened": cut,
        "trained": len(results),
        "seeds": sorted(set(results.seed.tolist())),
        "cpu seconds": round(results.cpu_seconds.sum(), 1),
        "device": str(matrix.device),
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(), "kdanalysis": kd.__version__}
        | {"torch": torch.__version__, "numpy": np.__version__, "pandas": pd.__version__},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2, allow_nan=False) + "\n")
    print(f"wrote {len(tables)} tables of {len(results)} trainings into {folder}")
