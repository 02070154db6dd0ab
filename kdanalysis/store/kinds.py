"""What a run can hold: one table of columns for every kind of rows.

Writers, readers, ``verify`` and the clearing of old runs go by this table alone. To record another
kind of rows, add its entry here and something that fills it.
"""

from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa

INTEGER, SHORT, REAL, SINGLE = pa.int64(), pa.int32(), pa.float64(), pa.float32()
TEXT = pa.string()


class Column(NamedTuple):
    """A scalar of an Arrow type; or a cell, whose numbers lie along ``axes`` (see ``RunInfo``).

    They are floats as the writer stores them, or of ``dtype`` whatever it stores. A cell that only
    ``some`` rows have keeps the dtype it comes in; other rows hold NaN, and a part lacks the column
    where none of its rows has one.
    """

    type: pa.DataType | None = None
    axes: tuple[str, ...] = ()
    required: bool = True
    dtype: str | None = None
    some: bool = False


class Kind(NamedTuple):
    """The columns of a kind, as they are stored, and what tells the rows of a step apart.

    Every kind has the integer columns step and epoch. ``key`` may name ``rank``, which stands in
    the folder's name. Of several rows with the same step and key one is read.
    """

    columns: Mapping[str, Column]
    key: tuple[str, ...]

    @property
    def required(self) -> tuple[str, ...]:
        """Columns that every row has."""
        return tuple(name for name, column in self.columns.items() if column.required)

    @property
    def cells(self) -> tuple[str, ...]:
        """Columns of cells."""
        return tuple(name for name, column in self.columns.items() if column.axes)


_STEP = {"step": Column(INTEGER), "epoch": Column(SHORT)}
_LOGITS, _REGIONS = Column(axes=("classes",)), Column(axes=("classes", "regions"))

KINDS: dict[str, Kind] = {
    "samples": Kind(
        _STEP
        | {
            "sample_id": Column(INTEGER),
            "target": Column(INTEGER, required=False),
            # a number for every class, where the target is no single one: mostly a distribution
            "soft_target": Column(axes=("classes",), required=False, some=True),
            "teacher_logits": _LOGITS._replace(required=False),
            "student_logits": _LOGITS,
            "residual": Column(SINGLE, required=False),
        },
        key=("sample_id",),
    ),
    # one row a term of the loss: its warm-up factor, and how many times it is in what was sent;
    # rest is the share of that which no term explains, count the samples
    "terms": Kind(
        _STEP
        | {
            "term": Column(TEXT),
            "ramp": Column(REAL),
            "arrived": Column(REAL),
            "rest": Column(REAL),
            "count": Column(INTEGER),
        },
        key=("rank", "term"),
    ),
    # rows of which the teacher's K largest classes and one more are kept, in place of samples;
    # ``kdanalysis.core.truncation.kept`` says what the sums are
    "tokens": Kind(
        _STEP
        | {
            "sample_id": Column(INTEGER),
            "target": Column(INTEGER),
            "ids": Column(axes=("kept",), dtype="int32"),
            "teacher_kept": Column(axes=("kept",)),
            "student_kept": Column(axes=("kept",)),
            "overlap": Column(axes=("known",), dtype="float32"),
            "facts": Column(axes=("temperatures", "facts"), dtype="float64"),
            "products": Column(axes=("products",), dtype="float64"),
            "far": Column(axes=("temperatures", "distances"), dtype="float32"),
            "shape": Column(axes=("shape",), dtype="float64"),
            "best": Column(INTEGER),
            "residual": Column(SINGLE, required=False),
        },
        key=("sample_id",),
    ),
    # dot products of the gradients of two terms in one layer; covariance is that of their
    # per-sample gradients, count the samples whose mean gradient they are
    "layers": Kind(
        _STEP
        | {
            "layer": Column(TEXT),
            "term_a": Column(TEXT),
            "term_b": Column(TEXT),
            "dot": Column(REAL),
            "covariance": Column(REAL, required=False),
            "count": Column(INTEGER, required=False),
        },
        key=("rank", "layer", "term_a", "term_b"),
    ),
    "regions": Kind(
        _STEP
        | {
            "sample_id": Column(INTEGER),
            "target": Column(INTEGER),
            "teacher_regions": _REGIONS,
            "student_regions": _REGIONS,
        },
        key=("sample_id",),
    ),
    # one row a side of the ladder: the columns of the table ``ladder``
    "stones": Kind(
        _STEP
        | {
            "side": Column(TEXT),
            "accuracy": Column(REAL),
            "agreement_teacher": Column(REAL),
            "agreement_student": Column(REAL),
            "divergence_teacher": Column(REAL),
            "divergence_student": Column(REAL),
            "overlap": Column(REAL),
            "relation": Column(REAL),
            "related": Column(INTEGER),
            "step_se": Column(REAL, required=False),
            "nearer_se": Column(REAL, required=False),
            "k": Column(INTEGER),
            "temperature": Column(REAL),
            "labelled": Column(INTEGER, required=False),
            "n": Column(INTEGER),
            "non_finite": Column(INTEGER),
        },
        key=("side",),
    ),
    # one row a block of the student and side: the columns of the table ``ladder_gradient``
    "stone_gradients": Kind(
        _STEP
        | {
            "block": Column(TEXT),
            "side": Column(TEXT),
            "norm": Column(REAL),
            "cosine": Column(REAL),
            "cosine_student": Column(REAL),
            "share": Column(REAL),
            "share_half": Column(REAL, required=False),
            "n": Column(INTEGER),
        },
        key=("block", "side"),
    ),
}


def find_kind(name: str) -> Kind:
    """Return a kind by its name; ValueError where there is none."""
    if name not in KINDS:
        raise ValueError(f"{name!r} is no kind of rows: need one of {', '.join(KINDS)}")
    return KINDS[name]
