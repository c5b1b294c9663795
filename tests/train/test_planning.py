"""Defaults that a run chooses from the data and the machine."""

from __future__ import annotations

import itertools

import pytest

from emotion_train.recipe import Recipe
from emotion_train.training.planning import (
    BATCH_SIZES,
    PLANNED,
    Workload,
    choose_network,
    describe_plan,
    plan_recipe,
)

COUNTS = (4, 20, 102, 340, 1_000, 3_000, 6_000, 20_000, 100_000)


def plan(faces: int, recipe: Recipe | None = None, **options: object) -> Recipe:
    workload = Workload(faces, faces, started=bool(options.pop("started", False)))
    return plan_recipe(recipe or Recipe(network="edge"), workload, **options)  # type: ignore[arg-type]


def test_edge_is_the_network_of_a_cpu_and_baseline_that_of_cuda() -> None:
    assert choose_network("cpu") == "edge"
    assert choose_network("cuda") == "baseline"


def test_more_pictures_give_larger_batches_and_no_more_epochs() -> None:
    plans = [plan(count) for count in COUNTS]
    for fewer, more in itertools.pairwise(plans):
        assert fewer.batch_size <= more.batch_size
        assert fewer.epochs >= more.epochs
        assert fewer.learning_rate <= more.learning_rate
    assert (plans[0].batch_size, plans[-1].batch_size) == (BATCH_SIZES[0], BATCH_SIZES[-1])


def test_augmentation_is_strong_where_there_is_time_for_it() -> None:
    assert plan(102).augmentation == "strong"  # many epochs
    assert plan(340).augmentation == "standard"
    assert plan(100_000).augmentation == "strong"  # many faces


def test_few_pictures_still_give_many_steps_an_epoch() -> None:
    few = plan(340)
    assert few.batch_size == 16
    assert 340 // few.batch_size >= 20


@pytest.mark.parametrize("field", PLANNED)
def test_a_value_that_the_user_gave_is_kept(field: str) -> None:
    given = Recipe(
        network="edge", epochs=7, batch_size=50, learning_rate=0.0123, augmentation="web"
    )
    planned = plan(400, given, choose=[name for name in PLANNED if name != field])
    assert getattr(planned, field) == getattr(given, field)
    assert planned != given


def test_nothing_else_of_a_recipe_changes() -> None:
    given = Recipe(network="edge", warmup=0.3, averaging=0.5, weight_decay=0.1, seed=4)
    planned = plan(400, given)
    different = {k for k, v in planned.to_dict().items() if v != given.to_dict()[k]}
    assert different <= set(PLANNED)
    assert plan(400, given, choose=()) == given


def test_a_run_that_is_short_in_time_is_augmented_less() -> None:
    assert plan(20_000).augmentation == "strong"
    assert plan(20_000, epochs=30).augmentation == "standard"
    assert plan(20_000, epochs=3).augmentation == "light"
    assert plan(20_000, epochs=3).epochs == 3


def test_weights_that_have_learned_get_half_of_the_rate() -> None:
    assert plan(400, started=True).learning_rate == plan(400).learning_rate / 2


def test_larger_batches_that_the_user_gave_raise_the_rate() -> None:
    rates = [
        plan(6_000, Recipe(network="edge", batch_size=size), choose=["learning_rate"]).learning_rate
        for size in (64, 256)
    ]
    assert rates[1] == 2 * rates[0]


def test_what_was_chosen_is_told_as_options() -> None:
    text = describe_plan(plan(400), Workload(400, 400), PLANNED)
    assert text.startswith("chosen for 400 training pictures: --epochs ")
    assert "--batch-size 16 --learning-rate " in text
    assert "--epochs" not in describe_plan(plan(400), Workload(400, 400), ("batch_size",))
