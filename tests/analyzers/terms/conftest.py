"""Records of gradients at layers, new for every test."""

import pytest

from tests.analyzers.terms.layer_records import made_records


@pytest.fixture
def records():
    return made_records()
