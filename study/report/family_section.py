"""What the report says about a family of sweeps as a whole; its members have sections of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from study.analysis.by_size import SizeRanking, rankings
from study.analysis.scaling import scale
from study.analysis.scaling_types import Scaling
from study.errors import StudyError
from study.report.inline import inline_svg
from study.report.provenance import provenance
from study.report.scaling_figures import drawable
from study.report.scaling_tables import scaling_tables
from study.report.sections import Section, Shown, title_of
from study.report.style import study_order
from study.sweep.family import Family, is_family, points_of, results_folders
from study.sweep.store import Store, read_tables


@dataclass(frozen=True)
class FamilyResults:
    """A family as far as its runs are finished: tidy points, their analysis, and its claims at every size."""

    family: Family
    points: pd.DataFrame
    scaling: Scaling
    ranked: list[SizeRanking]


def read_family(folder: Path) -> FamilyResults:
    """Read and analyse a family. Raises StudyError if fewer than two of its sizes are finished."""
    family = Family(folder)
    tables = family.tables()
    points = points_of(tables)
    scaling = scale(points, samples_seen=family.experiment.training.samples)
    return FamilyResults(family, points, scaling, rankings(tables, family.experiment.claims))


def with_members(folders: Sequence[Path]) -> list[Path]:
    """The folders, each family followed by its members that have a finished run."""
    found = []
    for folder in folders:
        found.append(folder)
        if is_family(folder):
            found += [each for each in results_folders(folder) if len(read_tables(each)[0])]
    return found


def read_family_section(folder: Path, key: str) -> Section:
    """A family's section: the figures against training images, and the tables. Its claims are tested in its members."""
    results = read_family(folder)
    experiment, scaling = results.family.experiment, results.scaling
    told = "; ".join(map(str, scaling.crossings)) or "no crossings"
    figures = [
        Shown(name, kind.title, kind.caption,
              inline_svg(kind.draw(results.points, scaling), f"{key}-{name}", f"Line chart: {kind.title}. {told}."))
        for name, kind in drawable(scaling).items()
    ]  # fmt: skip
    stores = list(results.family.stores().values())
    if not stores:
        raise StudyError(f"{folder} has no finished run: start its runs with study sweep, then report")
    sizes = f"{len(scaling.sizes)} numbers of training images from {scaling.sizes[0]:,} to {scaling.sizes[-1]:,}"
    return Section(
        key=key,
        title=title_of(experiment),
        subtitle=f"{len(scaling.variants)} variants of {experiment.budget:,} {experiment.match}, {sizes}, each trained "
        f"for {experiment.training.duration}",
        variants=study_order(results.points["variant"]),
        claims=[],
        figures=figures,
        tables=scaling_tables(results.points, scaling, results.ranked),
        provenance=provenance(Store(stores[-1].folder), read_tables(stores[-1].folder)[0]),
        curves=[],
        without_claims="Claims are tested at every size: the table of rankings below, and the sections that follow.",
    )
