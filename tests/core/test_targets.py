"""Choosing one number per example out of what a model returns."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from attrkit.errors import UsageError, UsageTypeError  # noqa: E402
from attrkit.targets import Target, output_tensor  # noqa: E402

FLAT = torch.arange(12.0).reshape(3, 4)
DEEP = torch.arange(24.0).reshape(3, 4, 2)


@pytest.mark.parametrize(
    ("target", "output", "expected"),
    [
        (1, FLAT, [1, 5, 9]),
        (-1, FLAT, [3, 7, 11]),
        ((1,), FLAT, [1, 5, 9]),
        ((1, 0), DEEP, [2, 10, 18]),
        (torch.tensor(2), FLAT, [2, 6, 10]),
        (torch.tensor([2]), FLAT, [2, 6, 10]),
        (torch.tensor([0, 1, 2]), FLAT, [0, 5, 10]),
        ([0, 1, 2], FLAT, [0, 5, 10]),
        ([(0, 0), (1, 1), (3, 0)], DEEP, [0, 11, 22]),
        (None, FLAT[:, :1], [0, 4, 8]),
        (None, FLAT[:, 0], [0, 4, 8]),
        (None, torch.tensor(7.0), [7]),
        (None, torch.tensor([7.0]), [7]),
    ],
)
def test_every_form_of_target_chooses_what_it_says(target: Any, output: Any, expected: list[float]) -> None:
    assert Target.of(target, 3).choose(output, 3).tolist() == expected


def test_targets_of_single_examples_go_along_with_their_rows() -> None:
    target = Target.of([0, 1, 2], 3).tile(2, slice(1, 3))
    assert target.choose(FLAT[[1, 2, 1, 2]], 4).tolist() == [5, 10, 5, 10]


@pytest.mark.parametrize("target", [None, 3, (1, 2), [0, 1, 2], [(0, 1), (1, 0), (2, 2)]])
def test_a_target_reads_its_own_description(target: Any) -> None:
    described = json.loads(json.dumps(Target.of(target, 3).to_json()))
    again = Target.of(described, 3)
    assert again.index == Target.of(target, 3).index
    assert again.to_json() == described
    assert str(again) == str(Target.of(target, 3))


@pytest.mark.parametrize("target", [1.5, "cat", [1.0, 2.0, 3.0], True, torch.tensor([1.0, 2.0, 3.0]), [], [(0, 1), 2, 3]])
def test_another_kind_is_refused_with_the_accepted_ones(target: Any) -> None:
    with pytest.raises(UsageTypeError, match="target must be an int, a tuple of ints, a list"):
        Target.of(target, 3)


@pytest.mark.parametrize(
    ("target", "output", "message"),
    [
        (None, FLAT, r"target is missing: the model returns \(4,\) numbers per example"),
        (4, FLAT, r"target 4 is out of range: the model returns \(4,\)"),
        (-5, FLAT, r"target -5 is out of range"),
        ([0, 1, 9], FLAT, r"target \[0, 1, 9\] is out of range"),
        ((1, 0), FLAT, r"has 2 indices, but after the batch the model's output has 1 dimensions"),
        (1, DEEP, r"has 1 indices, but after the batch the model's output has 2 dimensions"),
        (0, torch.tensor(1.0), r"has 1 indices, but after the batch the model's output has 0 dimensions"),
        ([0, 1, 2], FLAT[:2], r"the model returned 2 rows for 3 examples"),
    ],
)
def test_a_target_that_does_not_fit_the_output_says_why(target: Any, output: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Target.of(target, 3).choose(output, 3)


def test_another_number_of_targets_than_examples_is_refused() -> None:
    with pytest.raises(UsageError, match="target has 2 entries for a batch of 3 examples"):
        Target.of([0, 1], 3)


@pytest.mark.parametrize(
    "output",
    [FLAT, (FLAT,), {"logits": FLAT, "hidden": DEEP}, SimpleNamespace(logits=FLAT), {"only": FLAT}],
    ids=["tensor", "tuple", "mapping", "object", "one"],
)
def test_the_tensor_of_an_output_is_found(output: Any) -> None:
    assert output_tensor(output) is FLAT


def test_several_tensors_without_a_name_are_not_guessed_among() -> None:
    with pytest.raises(UsageTypeError, match="tuple with 2 tensors.*lambda x: model"):
        output_tensor((FLAT, DEEP))
