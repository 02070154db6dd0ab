"""The study of truncation: what a teacher of K known classes loses, and which K to take."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer
from kdanalysis.analyzers.truncation.losses import TruncatedLosses, with_its_ks
from kdanalysis.analyzers.truncation.lost import NOTHING, lost_by_k
from kdanalysis.analyzers.truncation.part import KS
from kdanalysis.analyzers.truncation.together import KEPT, EveryTruncation
from kdanalysis.core.arguments import typed
from kdanalysis.core.sparse import SparseTeacher
from kdanalysis.core.streams import nothing_finite
from kdanalysis.core.wording import percent
from kdanalysis.pages.study import Study
from kdanalysis.pages.truncation_losses import Losses, check_labels, read_losses
from kdanalysis.pages.truncation_sparse import sparse_study, study_of
from kdanalysis.studies.compute import Watch, compute, unwatched
from kdanalysis.studies.facts import class_fact, label_fact
from kdanalysis.studies.kept import bind, ks_of
from kdanalysis.studies.opening import BY_NAME, Given, open_source
from kdanalysis.studies.pairing import doubt
from kdanalysis.studies.setting import refusals
from kdanalysis.studies.source import Source

BATCH = 2**23  # rows x classes read together
SHOWN = 10  # columns of K that a terminal is given
POSITION = "of the sample ids, taken for those of kd.tokens: text times 2^20, plus position"


@typed
def truncation(
    student: Tensor | np.ndarray,
    teacher: Tensor | np.ndarray | SparseTeacher,
    ks: Sequence[int] | None = None,
    temperatures: Sequence[float | int] = (1.0,),
    losses: Losses = None,
    target: Tensor | np.ndarray | None = None,
    position: Tensor | np.ndarray | None = None,
    token_class: Tensor | np.ndarray | Sequence[str] | None = None,
) -> Study:
    """Show what a teacher of whom only the K most probable classes are known loses.

    Args:
        student: logits (n, c); those beyond a SparseTeacher's vocabulary are left out.
        teacher: all its logits (n, c), against which truncation is held. Or a SparseTeacher of as
            many tokens as the largest K or more: its tail is completed with the student's shape,
            and the tables say how far they may be off; those that need the tail's shape are left
            out, so that losses, target, position and token_class cannot be given.
        ks: how many classes are known, each from 1 to c - 1; of 1, 8, 32, 64 and 128 those below c
            if None.
        temperatures: every T > 0; the first is that of pictures and of a cache.
        losses: to hold beside full KD, such as "verl,trl-server,kd"; or by names of your own.
        target: labels (n,), to tell rows where the teacher is right; -100 where there is none.
        position: of every row in its text (n,).
        token_class: of every row (n,), such as "keyword", or a number from 0 to 31; "" or below 0
            where a row has none.

    Raises:
        ValueError: as :func:`truncation_study`; of a SparseTeacher, what it cannot answer.
    """
    more = {"target": target, "position": position, "token_class": token_class}
    if isinstance(teacher, SparseTeacher):
        if given := [n for n, x in (more | {"losses": losses}).items() if x is not None]:
            raise ValueError(
                f"{given[0]} needs all of the teacher's logits: {teacher} does not say what its "
                f"other tokens have each"
            )
        return sparse_study(student, teacher, ks, temperatures)
    columns = {"teacher_logits": teacher, "student_logits": student}
    columns |= {name: column for name, column in more.items() if column is not None}
    names: list[str] = []
    if token_class is not None:
        columns["token_class"], names = numbered(token_class)
    return truncation_study(columns, ks, temperatures, losses, token_classes=names)


def numbered(classes: Tensor | np.ndarray | Sequence[str]) -> tuple[Any, list[str]]:
    """Return classes as numbers and the names of these; numbers have no names.

    Names stand in the order of the alphabet.
    """
    if isinstance(classes, Tensor) or np.asarray(classes).dtype.kind != "U":
        return classes, []
    words = np.asarray(classes)
    names = sorted(set(words.tolist()) - {""})
    place = {name: number for number, name in enumerate(names)} | {"": -1}
    return np.array([place[word] for word in words.tolist()]), names


@typed(advice={"source": BY_NAME})
def truncation_study(
    source: Given,
    ks: Sequence[int] | None = None,
    temperatures: Sequence[float | int] = (1.0,),
    losses: Losses = None,
    device: torch.device | str = "cpu",
    watch: Watch = unwatched,
    token_classes: Sequence[str] = (),
) -> Study:
    """Study truncation over a file, a run or arrays, read once, batch by batch.

    The tables are truncation (what is lost), and truncation_direction, _tail, _payers, _bias,
    _temperature and, where losses are named, _losses.

    Args:
        source: logits of both sides, as for ``diagnose``; target, position and token_class where
            there are some. Or a run recorded with ``TopK``, for the K and T that it keeps; it has
            no table of bias, and losses that look into the other classes are left out.
        ks: how many classes are known, each from 1 to c - 1; of 1, 8, 32, 64 and 128 those below c
            if None.
        temperatures: every T > 0; the first is that of pictures and of a cache.
        losses: to hold beside full KD, such as "verl,trl-server,kd"; or by names of your own. Those
            that name no temperature get the first, those that name no k every K; so do losses
            that are given as such with the k of their class.
        device: where the sums are; rows are looked at on the processor.
        watch: wraps the batches, for a progress bar.
        token_classes: names of the numbers in token_class, from 0 on; the numbers if none.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: there are no student logits, a K or a temperature is out of range, a loss is not
            known or needs labels where there are none, or every row holds NaN or inf.
    """
    source = open_source(source, kept=True)
    if source.kept:
        return kept_study(source, ks, temperatures, losses, watch)
    if "student_logits" not in source.columns():
        raise ValueError(
            f"{source.path} holds teacher logits alone: what truncation loses is a gradient in the "
            f"student's logits, so student_logits are needed beside them"
        )
    classes = source.info.num_classes
    ks = [k for k in KS if k < classes] if ks is None else ks
    analyzer = EveryTruncation(classes, ks, temperatures)
    size = int(np.clip(BATCH // classes, 1, 16_384))
    analyzers: dict[str, Analyzer] = {"truncation": analyzer}
    found, own_k = read_losses(losses, analyzer.temperatures[0])
    if found:
        analyzers["truncation_losses"] = TruncatedLosses(classes, found, ks, own_k)
    found_tables = compute(source, analyzers, device, watch, size)
    check_labels(found, source)
    own = with_names(analyzer.tables(), token_classes)
    tables = own | {n: t for n, t in found_tables.items() if n != "truncation"}
    return _finished(source, analyzer, tables)


def _finished(
    source: Source,
    analyzer: EveryTruncation,
    tables: dict[str, pd.DataFrame],
    lacking: str = "",
) -> Study:
    """Return the study of what was read; a ValueError where every row holds NaN or inf."""
    left_out, classes = int(analyzer.non_finite), source.info.num_classes
    if left_out == source.num_rows:
        needs = () if source.kept else EveryTruncation.needs
        few = next(source.batches("samples", needs, SHOWN)).values() if needs else ()
        sides = [torch.from_numpy(side.astype(np.float32)) for side in few]
        raise ValueError(nothing_finite(source.path, *sides))
    facts = {
        "logits": source.name,
        "rows": f"{source.num_rows:,}",
        "classes": class_fact(classes, source.info.classes),
        "K": ", ".join(map(str, analyzer.ks)),
        "temperatures": ", ".join(f"{t:g}" for t in analyzer.temperatures),
        "labels": label_fact(source),
        "positions": POSITION if source.of_tokens else None,
        "rows left out (NaN or inf)": left_out or None,
        "left out": lacking,
        "likely wrong": doubt(source),
    }
    return study_of(f"Truncation: {source.name}", facts, tables)


def kept_study(
    source: Source,
    ks: Sequence[int] | None,
    temperatures: Sequence[float | int],
    losses: Losses,
    watch: Watch,
) -> Study:
    """Study the truncation of a run that keeps a few classes of every row, as its rows allow.

    Raises:
        ValueError: a K or a T was not kept, every loss looks into the other classes, or every row
            holds NaN or inf.
    """
    info = source.info
    ks = ks_of(info) if ks is None else ks
    analyzer = bind(EveryTruncation(info.num_classes, ks, temperatures, KEPT), info)
    lacking = ["the bias of the mean gradient, which needs all logits"]
    analyzers: dict[str, Analyzer] = {"truncation": analyzer}
    found, own_k = read_losses(losses, analyzer.temperatures[0])
    each = {name: with_its_ks(one, ks[:1], name in own_k)[0][1] for name, one in found.items()}
    lost = refusals(each, info)
    if found and len(lost) == len(found):
        raise ValueError(next(iter(lost.values())))
    if left := {name: one for name, one in found.items() if name not in lost}:
        beside = TruncatedLosses(info.num_classes, left, ks, own_k & left.keys())
        analyzers["truncation_losses"] = bind(beside, info)
    tables = compute(source, analyzers, watch=watch)
    check_labels(left, source)
    lacking += [f"{name}: {why}" for name, why in lost.items()]
    tables = analyzer.tables() | {n: t for n, t in tables.items() if n != "truncation"}
    return _finished(source, analyzer, tables, "; ".join(lacking))


def with_names(tables: dict[str, pd.DataFrame], names: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Return the tables with token classes by their names."""
    payers = tables["truncation_payers"]
    known = {str(number): name for number, name in enumerate(names)}
    named = payers.group.where(payers.kind != "token class", payers.group.replace(known))
    return tables | {"truncation_payers": payers.assign(group=named)}


def excerpt(table: pd.DataFrame) -> pd.DataFrame:
    """Return the share of the gradient that is lost in percent, a column a K, ten at most."""
    ks = np.sort(table.k.unique())
    if len(ks) > SHOWN:
        ks = ks[np.unique(np.geomspace(1, len(ks), SHOWN).round().astype(int)) - 1]
    wide = lost_by_k(table[table.k.isin(ks)])
    shares = {name: wide[name] for name in wide if name.startswith("K = ")}
    told = {n: (one * (one.abs() > NOTHING)).map(percent) for n, one in shares.items()}
    if "unknown" in wide:
        off = wide.unknown.map(lambda share: f"± {percent(share)}")
        told["unknown"] = off.where(wide.unknown.notna(), "without bound")
    return wide.assign(**told)
