"""Readouts against cases worked by hand and slow loops."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from study.analysis.curves import at_losses, improvements, matched_region
from study.analysis.readouts import (
    PARTS,
    READOUTS,
    accuracy_at_loss,
    accuracy_at_matched_loss,
    accuracy_at_smallest_common_loss,
    after_samples,
    final_gap,
    find_readout,
    gap_area,
    measure,
    reading_errors,
    samples_to_loss,
    summary,
)
from study.errors import StudyError
from tests.synthetic import curve, diverge, readout_table, results


def slow_accuracy_at(curve: pd.DataFrame, loss: float) -> float:
    """Accuracy when the running minimum of the loss first passes `loss`, by walking along the evaluations."""
    before: tuple[float, float] | None = None
    for row in curve.sort_values("step").itertuples():
        if row.step == 0 or not row.probe_loss > 0 or not math.isfinite(row.probe_loss):
            continue
        if before is None and row.probe_loss == loss:
            return row.test_accuracy
        if before is not None and row.probe_loss <= loss <= before[0]:
            part = (math.log(before[0]) - math.log(loss)) / (math.log(before[0]) - math.log(row.probe_loss))
            return before[1] + part * (row.test_accuracy - before[1])
        if before is None or row.probe_loss < before[0]:
            before = (row.probe_loss, row.test_accuracy)
    return math.nan


def test_only_new_lows_of_the_train_loss_count() -> None:
    one = curve("A 0", [4.0, 2.0, 3.0, 2.0, math.nan, 1.0], [0.1, 0.2, 0.9, 0.8, 0.7, 0.3])
    assert improvements(one)["probe_loss"].tolist() == [4.0, 2.0, 1.0]
    assert improvements(one)["test_accuracy"].tolist() == [0.1, 0.2, 0.3]


def test_the_untrained_network_takes_no_part() -> None:
    one = curve("A 0", [4.6, 2.0, 1.0], [0.01, 0.2, 0.3], first_step=0)
    assert improvements(one)["probe_loss"].tolist() == [2.0, 1.0]


@pytest.mark.parametrize("loss", [2.3, 3.1, 0.77, 4.613])
def test_a_matched_region_of_a_single_loss_is_read_there(loss: float) -> None:
    curves = pd.concat([curve("A 0", [4.7, loss], [0.1, 0.2]), curve("B 0", [loss, 0.5], [0.3, 0.4])])
    assert accuracy_at_matched_loss(curves).values.tolist() == pytest.approx([0.2, 0.3])


def test_matched_region_is_what_every_run_passes() -> None:
    curves = pd.concat([curve("A 0", [4, 1, 0.25], [0.1, 0.2, 0.3]), curve("B 0", [2, 1, 0.5], [0.3, 0.4, 0.5])])
    assert matched_region(curves) == (2.0, 0.5)


def test_accuracy_at_matched_loss_by_hand() -> None:
    """Between losses 2 and 0.5, in log2 from 1 to -1: A rises from .15 to .25, B from .3 to .5, both linearly."""
    curves = pd.concat([curve("A 0", [4, 1, 0.25], [0.1, 0.2, 0.3]), curve("B 0", [2, 1, 0.5], [0.3, 0.4, 0.5])])
    measured = accuracy_at_matched_loss(curves)
    assert measured.region == (2.0, 0.5)
    assert measured.values.to_dict() == pytest.approx({"A 0": 0.2, "B 0": 0.4})
    end = accuracy_at_smallest_common_loss(curves)
    assert end.values.to_dict() == pytest.approx({"A 0": 0.25, "B 0": 0.5})
    assert "B seed 0 goes no lower" in measured.notes[0]


def test_accuracy_at_matched_loss_equals_a_slow_walk() -> None:
    curves, _ = results(noise=3.0)
    measured = accuracy_at_matched_loss(curves)
    assert measured.region is not None
    lowest = [group["probe_loss"].min() for _, group in curves.groupby("run")]
    first = [group.sort_values("step")["probe_loss"].iloc[0] for _, group in curves.groupby("run")]
    assert measured.region == (min(first), max(lowest))
    high, low = np.log(measured.region)
    grid = np.exp(high + (low - high) * (np.arange(PARTS) + 0.5) / PARTS)
    for run, group in curves.groupby("run"):
        slow = [slow_accuracy_at(group, loss) for loss in grid]
        assert not np.isnan(slow).any()
        np.testing.assert_allclose(at_losses(group, "test_accuracy", grid).to_numpy()[0], slow, atol=1e-9)
        assert measured.values[run] == pytest.approx(np.mean(slow), abs=1e-9)


def test_accuracy_at_matched_loss_is_the_integral_over_log_loss_within_a_thousandth_of_a_point() -> None:
    """The trapezoid rule is exact from corner to corner."""
    curves, _ = results(noise=3.0)
    measured = accuracy_at_matched_loss(curves)
    assert measured.region is not None
    high, low = np.log(measured.region)
    for run, group in improvements(curves).groupby("run"):
        losses, accuracies = np.log(group["probe_loss"].to_numpy()), group["test_accuracy"].to_numpy()
        corners = np.sort([low, *losses[(losses > low) & (losses < high)], high])
        area = np.trapezoid(np.interp(corners, losses[::-1], accuracies[::-1]), corners)
        assert measured.values[run] == pytest.approx(area / (high - low), abs=1e-5)


@pytest.mark.parametrize("points", [9, 21])
def test_the_error_of_reading_between_evaluations_is_told(points: int) -> None:
    """A is a parabola in log loss, evenly measured: chords over h err by a sixth of its bend times h². B is a line."""
    logs = np.linspace(1, -1, points)
    bent = curve("A 0", np.exp(logs).tolist(), (0.5 - 0.2 * logs**2).tolist())
    curves = pd.concat([bent, curve("B 0", np.exp(logs).tolist(), (0.3 - 0.1 * logs).tolist())])
    grid = np.exp(1 - 2 * (np.arange(PARTS) + 0.5) / PARTS)
    read = at_losses(curves, "test_accuracy", grid).mean(axis=1)
    wrong = read["A 0"] - np.mean(0.5 - 0.2 * np.log(grid) ** 2)
    assert wrong == pytest.approx(-0.2 * (2 / (points - 1)) ** 2 / 6, rel=0.02)
    errors = reading_errors(curves, grid)
    assert errors["A"] == pytest.approx(wrong, rel=0.15)
    assert errors["B"] == pytest.approx(0, abs=1e-12)
    assert f"evaluations: −{100 * -errors['A']:.2f} (A) to " in accuracy_at_matched_loss(curves).notes[-1]


def test_without_a_common_loss_there_is_no_number_and_a_reason() -> None:
    curves = pd.concat([curve("slow 0", [4.0, 3.0], [0.1, 0.2]), curve("fast 1", [2.0, 1.0], [0.3, 0.4])])
    for measured in (
        accuracy_at_matched_loss(curves),
        accuracy_at_smallest_common_loss(curves),
        samples_to_loss(curves),
    ):
        assert measured.region is None
        assert measured.values.isna().all()
        assert set(measured.values.index) == {"slow 0", "fast 1"}
        assert "slow seed 0 goes no lower than a probe loss of 3" in measured.notes[0]
        assert "fast seed 1 is at 2 when first measured" in measured.notes[0]


def test_a_run_without_any_loss_is_named() -> None:
    curves = pd.concat([curve("A 0", [2.0, 1.0], [0.1, 0.2]), curve("B 3", [math.nan, math.inf], [0.1, 0.2])])
    measured = accuracy_at_matched_loss(curves)
    assert measured.values.isna().all()
    assert "B seed 3" in measured.notes[0]


def test_a_loss_that_a_run_never_reaches_is_nan_and_named() -> None:
    curves = pd.concat([curve("A 0", [4.0, 1.0], [0.1, 0.3]), curve("B 0", [4.0, 3.0], [0.1, 0.2])])
    measured = accuracy_at_loss(curves, 2.0)
    assert measured.values["A 0"] == pytest.approx(0.2)
    assert math.isnan(measured.values["B 0"])
    assert measured.notes == ("Not reached (never measured around a probe loss of 2): B seed 0.",)


def test_gap_at_the_end_and_its_area_by_hand() -> None:
    one = curve("A 0", [3, 2, 1], [0.1, 0.3, 0.4])  # probe accuracy .1, .5, .9: gaps 0, .2, .5
    assert final_gap(one).values["A 0"] == pytest.approx(0.5)
    assert gap_area(one).values["A 0"] == pytest.approx(0.1 + 0.35)
    shuffled = one.iloc[[2, 0, 1]]
    assert final_gap(shuffled).values["A 0"] == pytest.approx(0.5)
    assert gap_area(shuffled).values["A 0"] == pytest.approx(0.45)


def test_a_missing_last_value_is_not_replaced_by_an_earlier_one() -> None:
    one = curve("A 0", [3, 2, 1], [0.1, 0.3, math.nan])
    assert math.isnan(final_gap(one).values["A 0"])


def test_loss_after_equal_samples_by_hand() -> None:
    curves = pd.concat([curve("A 0", [4, 2, 1], [0.1, 0.2, 0.3]), curve("B 0", [4, 3], [0.1, 0.2])])
    default = after_samples(curves, "probe_loss")  # both have seen 20 samples
    assert default.values.to_dict() == pytest.approx({"A 0": 2.0, "B 0": 3.0})
    assert default.notes == ("Read after 20 samples.",)
    assert after_samples(curves, "probe_loss", 15).values.to_dict() == pytest.approx({"A 0": 3.0, "B 0": 3.5})
    later = after_samples(curves, "probe_loss", 30)
    assert later.values["A 0"] == 1.0
    assert math.isnan(later.values["B 0"])
    assert "B seed 0" in later.notes[1]
    assert after_samples(curves[:0], "probe_loss").notes == ()  # of no runs: all of them diverged


def test_samples_to_loss_by_hand() -> None:
    curves = pd.concat([curve("A 0", [4, 1], [0.1, 0.3]), curve("B 0", [4, 2, 1], [0.1, 0.2, 0.3])])
    assert samples_to_loss(curves, 2.0).values.to_dict() == pytest.approx({"A 0": 15.0, "B 0": 20.0})
    smallest_common = samples_to_loss(curves)
    assert smallest_common.values.to_dict() == pytest.approx({"A 0": 20.0, "B 0": 30.0})


def test_cost_divides_by_billions_of_multiply_adds_and_by_seconds() -> None:
    curves, runs = results(["C-C-T-T"], seeds=(0,))
    final = runs["final_test_accuracy"].iloc[0]
    assert measure("accuracy_per_gmac", curves, runs).values.iloc[0] == pytest.approx(final / 0.0278)
    assert measure("accuracy_per_second", curves, runs).values.iloc[0] == pytest.approx(final / runs["seconds"].iloc[0])


@pytest.mark.parametrize("name", sorted(READOUTS))
def test_every_readout_gives_one_value_a_run_and_does_not_care_about_the_order_of_rows(name: str) -> None:
    curves, runs = results()
    key = f"{name}@1.5" if READOUTS[name].needs_at else name
    table = readout_table(key, curves, runs)
    assert table.columns.tolist() == ["variant", "seed", "value"]
    assert table.index.tolist() == runs["run"].tolist()
    if not READOUTS[name].needs_at:
        assert table["value"].notna().all()
    shuffled = readout_table(key, curves.sample(frac=1, random_state=0), runs)
    pd.testing.assert_frame_equal(table, shuffled)


def test_a_diverged_run_has_no_value_narrows_no_region_and_is_named() -> None:
    curves, runs = results()
    without = curves[curves["run"] != "C-C-C-C-1"]
    expected = accuracy_at_matched_loss(without)
    curves, runs = diverge(curves, runs, "C-C-C-C-1", after=1)
    measured = measure("accuracy_at_matched_loss", curves, runs)
    assert measured.region == expected.region
    assert math.isnan(measured.values["C-C-C-C-1"])
    assert measured.values.count() == len(runs) - 1
    assert "Diverged, and so without a value: C-C-C-C seed 1." in measured.notes
    assert math.isnan(measure("final_test_accuracy", curves, runs).values["C-C-C-C-1"])


def test_a_run_without_evaluations_is_named() -> None:
    curves, runs = results()
    measured = measure("final_gap", curves[curves["run"] != "ViT_REL-2"], runs)
    assert math.isnan(measured.values["ViT_REL-2"])
    assert "Never evaluated: ViT_REL seed 2." in measured.notes


@pytest.mark.parametrize(
    ("name", "expected"),
    [("final_test_accuracy", "C-C-C-C"), ("final_gap", "ViT_REL"), ("samples_to_loss@2.5", "C-C-C-C")],
)
def test_summary_is_ordered_best_first_and_shows_every_seed(name: str, expected: str) -> None:
    curves, runs = results()
    table = summary(readout_table(name, curves, runs), name)
    assert table.columns.tolist() == ["variant", "n", "mean", "sd", "seed 0", "seed 1", "seed 2"]
    assert table["variant"].iloc[0] == expected
    seeds = table[["seed 0", "seed 1", "seed 2"]].to_numpy()
    np.testing.assert_allclose(table["mean"], seeds.mean(axis=1))
    np.testing.assert_allclose(table["sd"], seeds.std(axis=1, ddof=1))


def test_summary_counts_only_seeds_with_a_value() -> None:
    curves, runs = diverge(*results(seeds=(0, 1)), run="C-C-C-C-1")
    row = (
        summary(readout_table("final_test_accuracy", curves, runs), "final_test_accuracy")
        .set_index("variant")
        .loc["C-C-C-C"]
    )
    assert row["n"] == 1
    assert math.isnan(row["seed 1"])
    assert math.isnan(row["sd"])
    assert row["mean"] == row["seed 0"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("accuracy", "there is no readout 'accuracy'"),
        ("accuracy_at_loss", "needs its loss"),
        ("final_gap@3", "takes no number"),
        ("samples_to_loss@-1", "not a positive number"),
        ("samples_to_loss@soon", "not a positive number"),
    ],
)
def test_a_wrong_key_is_one_sentence(name: str, words: str) -> None:
    with pytest.raises(StudyError, match=words):
        find_readout(name)


def test_the_number_after_the_key_is_used() -> None:
    curves, runs = results()
    early = readout_table("probe_loss_after_samples@50000", curves, runs)["value"]
    late = readout_table("probe_loss_after_samples", curves, runs)["value"]
    assert (early > late).all()
