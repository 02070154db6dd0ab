"""Every kind of page, its tables and its pictures are what they were, to the byte."""

import json
from pathlib import Path

import pytest

from tests.pages.goldens import make


@pytest.mark.long  # minutes; and the hashes are those of one kind of processor
def test_pages_tables_and_pictures_are_what_they_were(tmp_path):
    kept = json.loads(Path(__file__).with_name("goldens.json").read_text())
    found = make(tmp_path)
    assert [name for name in {*kept, *found} if kept.get(name) != found.get(name)] == []
