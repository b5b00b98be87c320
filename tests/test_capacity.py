"""Capacity: a stream of images that never repeats, and runs that last for a number of samples."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from study.config import STREAMS, Blocks, Data, Experiment, Fractals, Run, Training, ViTRelVariant
from study.data import fractals, load
from study.data.stream import Stream
from study.errors import StudyError
from study.sweep.measure import stream_share
from study.sweep.plan import experiment_file, load_experiment, make_plan
from study.training import loop
from study.training.loop import train
from tests.test_training import interrupt_after, rows, weights

TINY = Data(image_size=16, fractals=Fractals(classes=5, train_images=80, test_images=40, stream=True))
RECIPE = Training(samples=200, batch_size=16, probe_size=32, eval_every=5)
SMALL = ViTRelVariant(patch=4, depth=1, width=32)


def stream_run(seed: int = 0, variant: ViTRelVariant = SMALL, data: Data = TINY) -> Run:
    return Run(variant=variant, data=data, training=RECIPE, seed=seed)


def test_ids_of_runs_from_before_streams_samples_validation_and_transfer_are_what_they_were() -> None:
    """Computed with the config of commit ccee8c3, which knew none of these."""
    run = Run(variant=ViTRelVariant(patch=4, depth=5, width=128), data=Data(), training=Training(), seed=0)
    assert run.id == "150a79b617f1"
    assert run.model_copy(update={"data": Data(name="cifar100")}).id == "351e6dd3c7ad"
    others = [
        run.model_copy(update={"training": Training(samples=1000)}),
        run.model_copy(update={"data": Data(validation=100)}),
        run.model_copy(update={"data": Data(fractals=Fractals(stream=True)), "training": Training(samples=1000)}),
    ]
    assert len({run.id, *(other.id for other in others)}) == 4


# ---------------------------------------------------------------- the stream


def test_the_seed_whose_stream_holds_the_validation_images_is_refused() -> None:
    data = TINY.model_copy(update={"validation": 20})
    assert stream_run(seed=1, data=data).seed == 1
    with pytest.raises(ValueError, match="the stream of seed 0 holds the validation images"):
        stream_run(seed=0, data=data)


def test_a_stream_shows_the_images_of_its_indices() -> None:
    stream = Stream(TINY, 16, seed=3)
    assert TINY.fractals
    for step in (0, 1, stream.batches_per_block, 3 * stream.batches_per_block + 2):
        block, batch = divmod(step, stream.batches_per_block)
        chosen = stream.indices(block)[16 * batch : 16 * (batch + 1)]
        images, labels = stream.at(step)
        for i, index in enumerate(chosen.tolist()):  # one by one, not in blocks
            image, label = fractals.batch(torch.tensor([index]), TINY.fractals, "train", 16)
            assert torch.equal(images[i], image[0])
            assert labels[i] == label[0] == index % 5


def test_a_stream_repeats_no_index_neither_within_nor_across_seeds() -> None:
    seen = torch.cat([Stream(TINY, 48, seed).indices(block) for seed in (0, 1, 7) for block in range(5)])
    assert len(seen.unique()) == len(seen)
    assert seen.min() >= 0
    assert seen.max() < 2**48


def test_steps_can_be_taken_in_any_order() -> None:
    forwards, backwards = Stream(TINY, 256, 1), Stream(TINY, 256, 1)
    expected = [forwards.at(step)[0] for step in range(10)]
    for step in reversed(range(10)):
        assert torch.equal(backwards.at(step)[0], expected[step])


def test_classes_of_a_stream_do_not_take_turns() -> None:
    labels = Stream(TINY, 64, 0).at(0)[1]
    turns = ((labels[1:] - labels[:-1]) % 5 == 1).float().mean()
    assert turns < 0.5  # in the order of the indices it would be 1
    assert set(labels.tolist()) == set(range(5))


def test_the_last_seed_has_a_stream_and_the_next_one_none() -> None:
    last = Stream(TINY, 16, STREAMS - 1).indices(0)
    assert last.max() < 2**48
    with pytest.raises(StudyError, match="seeds are below 65,536"):
        Stream(TINY, 16, STREAMS)


# ---------------------------------------------------------------- runs on a stream


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    train(stream_run(), folder)
    return folder


def test_a_run_on_a_stream_stopped_at_any_step_ends_with_the_same_numbers(tmp_path: Path, whole: Path) -> None:
    attempts = count()
    while train(stream_run(), tmp_path, should_stop=interrupt_after(next(attempts) % 3 + 2)) is None:
        pass
    assert next(attempts) >= 3
    assert rows(tmp_path) == rows(whole)
    expected, found = weights(whole), weights(tmp_path)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_run_on_a_stream_is_one_pass_over_its_samples(whole: Path) -> None:
    found = rows(whole)
    assert [row["step"] for row in found] == [5, 10, 12]  # 200 samples are 12 whole batches of 16
    assert found[-1]["samples"] == 192
    assert found[-1]["epoch"] == 1


def test_all_variants_of_a_seed_see_the_same_stream_and_the_probe_lies_within_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    probes: list[torch.Tensor] = []

    class Watching(Stream):
        def at(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
            images, labels = super().at(step)
            seen.append(images.flatten(1).long().cumsum(1).sum(1))
            return images, labels

        def first(self, size: int) -> tuple[torch.Tensor, torch.Tensor]:
            images, labels = super().first(size)
            probes.append(images.flatten(1).long().cumsum(1).sum(1))
            return images, labels

    monkeypatch.setattr(loop, "Stream", Watching)
    block = Training(samples=2048, batch_size=256, probe_size=32)  # one block: all of its images are seen
    for name, depth in (("a", 1), ("b", 2)):
        variant = ViTRelVariant(patch=8, depth=depth, width=32)
        train(Run(variant=variant, data=TINY, training=block, seed=2), tmp_path / name)
    assert len(seen) == 16
    assert torch.equal(torch.cat(seen[:8]), torch.cat(seen[8:]))
    assert torch.equal(probes[0], probes[1])
    assert set(probes[0].tolist()) <= set(torch.cat(seen[:8]).tolist())


def test_seeds_differ_in_their_images_but_not_in_their_test_images_or_normalisation() -> None:
    first, second = (make_plan(Experiment(name="x", data=TINY, training=RECIPE, seeds=(seed,))) for seed in (0, 1))
    assert first.runs[0].data == second.runs[0].data  # with its fingerprint
    assert first.steps == 12
    assert not torch.equal(Stream(TINY, 16, 0).at(0)[0], Stream(TINY, 16, 1).at(0)[0])


def test_a_stream_takes_no_epochs_no_parts_and_no_subset() -> None:
    with pytest.raises(ValidationError, match=r"set training\.samples"):
        Experiment(name="x", data=TINY)
    with pytest.raises(ValidationError, match="no parts"):
        Experiment(name="x", data=TINY, training=RECIPE, parts=(0.5, 1.0))
    with pytest.raises(ValidationError, match="no subset"):
        Data(fractals=Fractals(stream=True), train_size=100)


def test_the_images_that_give_the_normalisation_are_those_of_the_finite_data_set() -> None:
    assert TINY.fractals
    finite = TINY.model_copy(update={"fractals": TINY.fractals.model_copy(update={"stream": False})})
    assert load(TINY).fingerprint == load(finite).fingerprint


def test_the_share_of_a_step_that_making_images_takes_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a network that costs nothing to speak of, it is nearly all; against a large one less."""
    monkeypatch.setattr("study.data.stream.BLOCK", 256)
    least = stream_share(ViTRelVariant(patch=16, depth=1, width=8, blocks=Blocks(head_dim=8)), TINY, RECIPE)
    large = stream_share(ViTRelVariant(patch=4, depth=4, width=256), TINY, RECIPE)
    assert 0 < large < least < 1


# ---------------------------------------------------------------- durations


def test_samples_are_steps_of_whole_batches_whatever_the_number_of_images() -> None:
    recipe = Training(samples=10_000, batch_size=128)
    assert recipe.steps(500) == recipe.steps(50_000) == 78
    assert recipe.evaluation_points(500)[:2] == (3, 6)  # a twentieth, not an epoch of three steps
    assert Training(epochs=3, batch_size=100).steps(1050) == 30
    assert Training(epochs=3, batch_size=100).evaluation_points(1050) == (10, 20, 30)


def test_training_lasts_for_epochs_or_for_samples() -> None:
    assert Training(samples=100).epochs is None
    for both in ({"epochs": 3, "samples": 100}, {"epochs": None}):
        with pytest.raises(ValidationError, match="epochs or for samples"):
            Training(**both)
    recipe = Training(samples=100)
    assert Training.model_validate_json(recipe.model_dump_json()) == recipe


def test_the_capacity_experiment_streams_and_its_difficulty_was_chosen_on_another_seed_and_variant() -> None:
    path = experiment_file("capacity")
    experiment = load_experiment(path)
    assert experiment.data.stream
    assert experiment.training.samples
    card = path.read_text(encoding="utf-8")
    assert "on seed 100 and C-T-C-T" in card
    assert 100 not in experiment.seeds
    assert not any("C-T-C-T" in name for name in experiment.variants)
