"""Results as objects, for notebooks: `study.load("results/...")`, and `study.load_family` where data grow."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from study.analysis.claims import ClaimVerdict, verdict_on
from study.analysis.readouts import Measurement, find_readout, measure, readout_table, summary
from study.analysis.scaling_types import Scaling
from study.config import Claim, Experiment
from study.errors import StudyError
from study.report.claim_figures import forest_plot, rank_heat_map
from study.report.family_section import read_family
from study.report.figures import FIGURES
from study.report.scaling_figures import drawable
from study.sweep.store import Store, read_tables


class Results:
    """One results folder: tidy frames, readouts, tested claims, figures.

    >>> results = load(example)
    >>> results.runs[["variant", "seed", "final_test_accuracy"]].shape
    (15, 3)
    >>> results.summary("final_test_accuracy").columns.tolist()[:4]
    ['variant', 'n', 'mean', 'sd']
    >>> verdict = results.test("C-C-T-T > ViT_REL", readout="final_test_accuracy", epsilon=0.01, delta=0.03)
    >>> verdict.verdict in ("reproduced", "consistent", "contradicted", "undecided")
    True
    >>> results.figure("accuracy_at_loss").get_size_inches().shape
    (2,)
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.experiment: Experiment = Store(folder).experiment

    @cached_property
    def _tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        return read_tables(self.folder)

    @property
    def runs(self) -> pd.DataFrame:
        """One row a finished run."""
        return self._tables[0]

    @property
    def curves(self) -> pd.DataFrame:
        """One row an evaluation of a finished run."""
        return self._tables[1]

    def readout(self, name: str) -> pd.DataFrame:
        """Columns variant, seed, value; one row a run. Raises StudyError for an unknown readout."""
        return readout_table(name, self.curves, self.runs)

    def measure(self, name: str) -> Measurement:
        """A readout with what must be said of it: the matched region, what was not reached."""
        return measure(name, self.curves, self.runs)

    def summary(self, name: str) -> pd.DataFrame:
        """Columns variant, n, mean, sd, then every seed's value; the best variant first."""
        return summary(self.curves, self.runs, name)

    def test(
        self,
        claim: Claim | str,
        readout: str = "accuracy_at_matched_loss",
        epsilon: float = 0.01,
        delta: float = 0.03,
        alpha: float = 0.05,
    ) -> ClaimVerdict:
        """Test a claim, or a ranking in the paper's notation with the readout and margins given here.

        A ranking that is thought of after the runs is an exploration: the claims that were fixed before stand in
        `experiment.claims`.
        """
        if isinstance(claim, str):
            claim = Claim(ranking=claim, readout=readout, epsilon=epsilon, delta=delta, alpha=alpha)
        return verdict_on(claim, self.curves, self.runs)

    def figure(self, name: str) -> Figure:
        """A figure of the curves: one of `study.report.figures.FIGURES`. Raises StudyError for another name."""
        if name not in FIGURES:
            raise StudyError(f"there is no figure {name!r}: the figures are {', '.join(FIGURES)}")
        return FIGURES[name].draw(self.curves, self.runs)

    def forest(self, verdict: ClaimVerdict) -> Figure:
        """All pairwise differences with their simultaneous intervals and the claim's margins."""
        return forest_plot(verdict, find_readout(verdict.claim.readout)[0].unit)

    def ranks(self, verdict: ClaimVerdict) -> Figure:
        """How probable each rank is for each variant, by the parametric bootstrap."""
        return rank_heat_map(verdict)


class FamilyView:
    """A family of sweeps: the same experiment at several numbers of training images, and what changes among them.

    Analysed once, when opened: `scaling` has crossings, laws, the check on what was held out, and extrapolations.
    """

    def __init__(self, folder: Path):
        self._read = read_family(folder)
        self.folder = folder
        self.experiment: Experiment = self._read.family.experiment
        self.points: pd.DataFrame = self._read.points
        self.scaling: Scaling = self._read.scaling

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of training images at which every variant has a finished run, ascending."""
        return self.scaling.sizes

    @property
    def rankings(self) -> pd.DataFrame:
        """Each claim at each size; columns claim, readout, images, verdict, measured, by_mean."""
        rows = [
            {
                "claim": each.claim.ranking,
                "readout": each.claim.readout,
                "images": each.images,
                "verdict": each.verdict.verdict if each.verdict else "untested",
                "measured": each.verdict.measured if each.verdict else "",
                "by_mean": each.by_mean,
            }
            for each in self._read.ranked
        ]
        return pd.DataFrame(rows, columns=["claim", "readout", "images", "verdict", "measured", "by_mean"])

    def at(self, images: int) -> Results:
        """The results at one size. Raises StudyError for a size that the family lacks."""
        if images not in self._read.family.sizes:
            sizes = ", ".join(f"{size:,}" for size in self._read.family.sizes)
            raise StudyError(f"{self.folder} has no results at {images:,} images: it has {sizes}")
        return Results(self._read.family.path(images))

    def figure(self, name: str) -> Figure:
        """One of `study.report.scaling_figures.SCALING_FIGURES`. Raises StudyError for one that cannot be drawn."""
        figures = drawable(self.scaling)
        if name not in figures:
            raise StudyError(f"there is no figure {name!r} of this family: there are {', '.join(figures)}")
        return figures[name].draw(self.points, self.scaling)


def load(folder: str | Path) -> Results:
    """The results in a folder that `study sweep` made, or in a committed one without its runs.

    Raises StudyError if the folder holds no results.
    """
    return Results(Path(folder))


def load_family(folder: str | Path) -> FamilyView:
    """What a sweep of an experiment with `parts` made, such as experiments/data_scale.py.

    Raises StudyError if the folder holds no family, or fewer than two of its sizes are finished.
    """
    return FamilyView(Path(folder))
