"""Parts as pyarrow writes them by itself: which columns are read past it, and what is looked at."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kdanalysis.store import inventory
from kdanalysis.store.footer import read_pages
from kdanalysis.store.inventory import Part

ROWS, CLASSES = 8, 3
PLAIN = {"compression": "NONE", "use_dictionary": False}


def write(file, nulls: tuple[int, ...] = (), nullable: bool = False) -> np.ndarray:
    """Write rows with cells of three float16 logits, and return the cells."""
    logits = np.arange(1, 1 + ROWS * CLASSES, dtype="<f2").reshape(ROWS, CLASSES)
    cells = [None if i in nulls else row.tobytes() for i, row in enumerate(logits)]
    described = {"dtype": "float16", "shape": [CLASSES], "byte_order": "little"}
    names = ("teacher_logits", "student_logits")
    stated = {"schema_version": 1, "kind": "samples", "logits": dict.fromkeys(names, described)}
    numbers = {"step": pa.int64(), "epoch": pa.int32(), "sample_id": pa.int64()}
    fields = [
        *(pa.field(name, dtype, nullable=False) for name, dtype in numbers.items()),
        pa.field("teacher_logits", pa.binary(6), nullable=False),
        pa.field("student_logits", pa.binary(6), nullable=nullable),
    ]
    schema = pa.schema(fields, {"kdanalysis": json.dumps(stated)})
    arrays = [pa.array(np.arange(ROWS), dtype) for dtype in numbers.values()]
    whole = pa.array([row.tobytes() for row in logits], pa.binary(6))
    table = pa.table([*arrays, whole, pa.array(cells, pa.binary(6))], schema=schema)
    pq.write_table(table, file, **PLAIN)
    return logits


def rows(file, names) -> dict[str, np.ndarray]:
    (block,) = Part(file.parent, file, 0, None).blocks(names, 100)
    return block


def test_a_column_that_may_have_nulls_is_left_to_arrow(tmp_path):
    file = tmp_path / "x"
    logits = write(file, nulls=(5,), nullable=True)
    # its levels take the place of the cell that is not there: as many bytes as of plain cells
    _, (page,) = read_pages(file)[0][-1]
    assert (page.values, page.stop - page.start) == (ROWS, ROWS * 6)
    found = rows(file, ["teacher_logits", "student_logits"])
    kept = [i for i in range(ROWS) if i != 5]
    assert found["teacher_logits"].tolist() == logits.tolist()
    assert found["student_logits"][kept].tolist() == logits[kept].tolist()


def test_the_footer_is_looked_at_once_and_not_at_all_for_columns_without_cells(
    tmp_path, monkeypatch
):
    file = tmp_path / "x"
    write(file)
    looked = []
    monkeypatch.setattr(
        inventory, "read_pages", lambda path: looked.append(path) or read_pages(path)
    )
    assert rows(file, ["step", "rank"])["step"].tolist() == list(range(ROWS))
    assert looked == []
    part = Part(file.parent, file, 0, None)
    for _ in range(2):
        assert len([*part.blocks(["teacher_logits"], 4)]) > 1
    assert looked == [file]
