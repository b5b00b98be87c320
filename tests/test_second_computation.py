"""The study's own numbers, computed a second time from its runs' records by NumPy, SciPy and statsmodels alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from statsmodels.stats.multitest import multipletests

import study

FOLDER = Path(__file__).parents[1] / "results" / "generalization-cifar100"
RATES = {"ViT_REL": 3e-3, "C-C-C-C": 9e-3, "C-C-C-T": 3e-3, "C-C-T-T": 1e-3, "C-T-T-T": 3e-3}


def records() -> list[tuple[tuple[str, int], list[dict[str, float]]]]:
    """(variant, seed) and the lines of metrics.jsonl of each run at its layout's own rate."""
    found = []
    for path in FOLDER.glob("runs/*/result.json"):
        result = json.loads(path.read_text())
        if result["run"]["training"]["lr"] == RATES[result["label"]]:
            lines = (path.parent / "metrics.jsonl").read_text().splitlines()
            found.append(((result["label"], result["seed"]), [json.loads(line) for line in lines]))
    return found


def final_accuracies() -> dict[tuple[str, int], float]:
    return {run: lines[-1]["test_accuracy"] for run, lines in records()}


def mean_accuracies_at_equal_loss() -> dict[tuple[str, int], float]:
    """Over the losses that all runs pass, on a logarithmic axis: trapezoids between the corners of each curve."""
    curves = {}
    for run, lines in records():
        lowest = np.minimum.accumulate([line["probe_loss"] for line in lines])
        new = np.diff(lowest, prepend=np.inf) < 0
        curves[run] = -np.log(lowest[new]), np.array([line["test_accuracy"] for line in lines])[new]
    start, end = max(x[0] for x, _ in curves.values()), min(x[-1] for x, _ in curves.values())
    means = {}
    for run, (x, y) in curves.items():
        at = np.concatenate(([start], x[(x > start) & (x < end)], [end]))
        means[run] = scipy.integrate.trapezoid(np.interp(at, x, y), at) / (end - start)
    return means


@pytest.mark.parametrize(
    ("readout", "computed"),
    [("accuracy_at_matched_loss", mean_accuracies_at_equal_loss), ("final_test_accuracy", final_accuracies)],
)
def test_values_and_p_values_of_the_study(readout: str, computed: Callable[[], dict[tuple[str, int], float]]) -> None:
    results, values = study.load(FOLDER), computed()
    assert len(values) == 25
    told = {(row.variant, row.seed): row.value for row in results.readout(readout).itertuples()}
    assert told == pytest.approx(values, abs=1e-5)

    (claim,) = (each for each in results.experiment.claims if each.readout == readout)
    pairs = results.test(claim).pairs
    samples = {label: [value for (variant, _), value in values.items() if variant == label] for label in RATES}
    p_values = [scipy.stats.ttest_ind(samples[a.first], samples[a.second], equal_var=False).pvalue for a in pairs]
    assert len(pairs) == 10
    assert [pair.different_p for pair in pairs] == pytest.approx(multipletests(p_values, method="holm")[1], rel=0.01)
