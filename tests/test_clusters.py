"""Connected components: the smallest member names each, whatever the order of the edges."""

from __future__ import annotations

import random

import curate_kernels
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st


def components(nodes: int, edges: list[tuple[int, int]]) -> list[int]:
    left = pa.array([a for a, _ in edges], pa.uint32())
    right = pa.array([b for _, b in edges], pa.uint32())
    return curate_kernels.connected_components(nodes, left, right).to_pylist()


def test_labels_by_hand() -> None:
    # 0; 1-4-2; 3-5
    assert components(6, [(4, 2), (5, 3), (1, 4)]) == [0, 1, 1, 3, 1, 3]
    assert components(3, []) == [0, 1, 2]
    assert components(2, [(1, 1)]) == [0, 1]
    assert components(0, []) == []


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=40), st.randoms())
def test_labels_are_the_smallest_reachable_and_do_not_depend_on_order(
    edges: list[tuple[int, int]], draw: random.Random
) -> None:
    labels = list(range(20))
    for _ in range(20):  # relax until nothing can change: 20 nodes need at most 19 rounds
        for a, b in edges:
            labels[a] = labels[b] = min(labels[a], labels[b])
    assert components(20, edges) == labels
    shuffled = [(b, a) for a, b in draw.sample(edges, len(edges))]
    assert components(20, shuffled) == labels


@pytest.mark.parametrize("order", [1, -1])
def test_a_long_chain_is_one_component(order: int) -> None:
    edges = [(i, i + 1) for i in range(300_000)][::order]
    assert set(components(300_001, edges)) == {0}


def test_edges_without_sense_are_errors() -> None:
    with pytest.raises(ValueError, match="edge 1 joins 0 and 2, but there are 2 nodes"):
        components(2, [(0, 1), (0, 2)])
    with pytest.raises(ValueError, match="both ends"):
        curate_kernels.connected_components(2, pa.array([0], pa.uint32()), pa.array([], pa.uint32()))
    with pytest.raises(ValueError, match="null"):
        curate_kernels.connected_components(2, pa.array([None], pa.uint32()), pa.array([0], pa.uint32()))
    with pytest.raises(ValueError, match="at most"):
        curate_kernels.connected_components(1 << 33, pa.array([], pa.uint32()), pa.array([], pa.uint32()))
