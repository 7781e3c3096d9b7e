from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.toml import toml_of

texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    texts | st.booleans() | st.integers() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
)


@given(st.dictionaries(texts, values))
def test_tomllib_reads_it_back(table: dict[str, Any]) -> None:
    assert tomllib.loads(toml_of(table)) == table


def test_by_hand() -> None:
    table = {
        "seed": 3,
        "trainer": {"optim_args": {"betas": [0.9, 0.95]}, "a.b": 1e-05},
        "model": ['a "b"'],
        "rule": None,
    }
    assert toml_of(table) == (
        'seed = 3\nmodel = ["a \\"b\\""]\n\n[trainer]\noptim_args = {betas = [0.9, 0.95]}\n"a.b" = 1e-05\n'
    )


def test_what_is_no_plain_data_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot be written as TOML"):
        toml_of({"seed": object()})
