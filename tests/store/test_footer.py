"""A Parquet file's sizes are checked before a decoder believes them."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kdanalysis.store.footer import Thrift, read_footer, read_pages
from kdanalysis.store.sources import load_logits


@pytest.fixture(params=["NONE", "SNAPPY", "ZSTD"])
def file(tmp_path, request):
    """Three row groups of a list, labels and ids, as other tools write them."""
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "step": np.arange(60),
            "logits": list(rng.normal(size=(60, 4)).astype(np.float32)),
            "target": rng.integers(0, 4, 60),
        }
    )
    options = {"compression": request.param, "data_page_size": 64}
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=25, **options)
    return tmp_path / "x.parquet"


def test_the_footer_says_what_arrow_reads_in_it(file):
    metadata = pq.read_metadata(file)
    found = read_footer(file)
    assert len(found) == metadata.num_row_groups == 3
    for group, chunks in enumerate(found):
        for number, chunk in enumerate(chunks):
            column = metadata.row_group(group).column(number)
            places = [column.data_page_offset, column.dictionary_page_offset]
            assert chunk.name == column.path_in_schema
            assert chunk.start == min(place for place in places if place is not None)
            assert chunk.stop - chunk.start == column.total_compressed_size
    largest = [int.from_bytes(chunks[0].largest, "little", signed=True) for chunks in found]
    assert largest == [24, 49, 59]


def test_whole_files_pass(file):
    groups = read_pages(file)
    assert [[chunk for chunk, _ in group] for group in groups] == read_footer(file)
    assert all(pages[-1].stop == chunk.stop for group in groups for chunk, pages in group)
    assert load_logits(file).num_rows == 60


@pytest.mark.parametrize(
    "options",
    [{}, {"compression": "ZSTD"}, {"use_dictionary": True}, {"data_page_version": "2.0"}],
    ids=["plain", "packed", "dictionary", "version 2"],
)
def test_a_page_of_nothing_but_values_is_known_as_one(tmp_path, options):
    content = np.random.default_rng(0).bytes(24) + bytes(16)  # ZSTD makes 40 bytes of it
    cells = pa.array([content[i : i + 4] for i in range(0, 40, 4)] * 3, pa.binary(4))
    table = pa.table([cells], pa.schema([pa.field("x", pa.binary(4), nullable=False)]))
    plain = {"compression": "NONE", "use_dictionary": False, "data_page_size": 40}
    pq.write_table(table, tmp_path / "x", write_batch_size=10, **plain | options)
    (((_, pages),),) = read_pages(tmp_path / "x")
    with (tmp_path / "x").open("rb") as file:
        found = [(file.seek(page.start), file.read(page.stop - page.start))[1] for page in pages]
    if "use_dictionary" not in options:
        assert [len(one) for one in found] == [40] * 3
    assert [page.values for page in pages] == ([None] * len(pages) if options else [10] * 3)
    assert options or found == [content] * 3


# a page whose header claims 2^31 - 1 bytes, as a varint of 5 bytes; and one in place of a chunk
FORGED = """
import resource, sys
import pyarrow as pa
from kdanalysis.store.sources import load_logits
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
try:
    list(load_logits(sys.argv[1]).batches(8))
except ValueError as error:
    print(error)
print(pa.default_memory_pool().max_memory() >> 20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
@pytest.mark.parametrize("claimed", [2**30, 2**31 - 1, -5])
def test_a_page_that_claims_more_than_its_column_allocates_nothing(tmp_path, claimed):
    table = pa.table({"logits": list(np.zeros((8, 4), np.float32)), "target": np.zeros(8, int)})
    path = tmp_path / "x.parquet"
    pq.write_table(table, path, compression="NONE", use_dictionary=False)
    chunk = read_footer(path)[0][1]
    data = bytearray(path.read_bytes())
    header = Thrift(bytes(data[chunk.start :]))
    size = header.struct()[3]
    varint = encoded(claimed)
    place = data.index(b"\x15" + encoded(size), chunk.start + 2 + 1 + len(encoded(size)))
    rest = data[place + 1 + len(encoded(size)) :]
    cut = len(varint) - len(encoded(size))  # the file keeps its length, and the footer its place
    end = chunk.stop - place - 1 - len(encoded(size))
    data[place + 1 :] = varint + rest[: end - cut] + rest[end:]
    path.write_bytes(data)
    done = subprocess.run([sys.executable, "-c", FORGED, path], capture_output=True, text=True)
    said, memory = done.stdout.splitlines()
    assert f"a page claims {claimed} bytes, more than its column has" in said
    assert int(memory) < 50


def encoded(number):
    """A whole number as Thrift's compact protocol writes it."""
    value, out = (number << 1) ^ (number >> 63), bytearray()
    value &= 2**64 - 1
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def test_a_file_that_ends_before_its_last_row_is_damaged(file, monkeypatch):
    logits = load_logits(file)
    real = type(logits.table).batches

    def fewer(self, keys, size, rows):
        yield next(real(self, keys, size, rows))

    monkeypatch.setattr(type(logits.table), "batches", fewer)
    with pytest.raises(ValueError, match="is damaged: it ends after 7 rows of 60"):
        list(logits.batches(7))
