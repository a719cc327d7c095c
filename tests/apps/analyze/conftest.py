"""A tiny detector."""

import pytest
from helpers.tiny import write_tiny


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("network"))
