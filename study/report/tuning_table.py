"""The table of a tuning: what every learning rate gave, and which one each variant got."""

from __future__ import annotations

from study.report.style import study_order
from study.report.table import Table, capitalised, number
from study.sweep.tuned import Tuned, key, mean


def tuning_table(tuned: Tuned) -> Table:
    """Mean validation accuracy over the tuning seeds of each rate, the chosen one in its own column."""
    rows = []
    for label in study_order(tuned.rates):
        cells = [number(mean(tuned.values[label].get(key(rate), ())), "accuracy") for rate in tuned.grid]
        rows.append((label, *cells, key(tuned.rates[label])))
    notes = [f"{capitalised(tuned.policy)}.", "Mean over seeds; – where a run diverged, or none was made."]
    if tuned.at_edge:
        notes.append(f"At the edge of the grid, so that a better rate may lie beyond: {', '.join(tuned.at_edge)}.")
    header = ("variant", *(f"rate {key(rate)}" for rate in tuned.grid), "chosen")
    return Table("Learning rates, validation accuracy in %", header, tuple(rows), tuple(notes))
