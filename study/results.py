"""The only reader of results folders: `study.load("results/...")`. All that ranks, plots and reports starts here.

A folder holds the runs of one experiment, or members (study/sweep/members.py), each a results folder of its own. What
is said of a folder is said view by view (views.py): its runs as a whole, or at tuned rates and again at the shared one.

Everything is read from the runs' own records, each file once; where only the tables are here (committed results), from
`runs.csv` and `curves.csv`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from matplotlib.figure import Figure

from study.analysis import own_readouts
from study.analysis.curves import not_diverged, of_runs
from study.analysis.readouts import Measurement, Readout, find_readout
from study.analysis.run_tables import POINT_COLUMNS, of_records, points_of, read_csv
from study.analysis.scaling import scale
from study.analysis.scaling_types import Scaling, SizeRanking
from study.analysis.verdicts import ClaimVerdict
from study.analysis.views import View
from study.config import Claim, Experiment, Run, own_reference
from study.errors import StudyError
from study.files import atomic, read_json, read_text, write_json
from study.sweep.claims import read_claims
from study.sweep.looks import Looks, read_looks
from study.sweep.members import Members, read_members
from study.sweep.records import Record, read_records
from study.sweep.store import Store
from study.sweep.tuned import Tuned, read_tuned

SHARED = "-shared-rate"  # in the names of tables at the shared rate, where there are tuned ones


class Results:
    """One results folder: its experiment, members, views and tables; read once, when they are first asked for.

    `design` is "plain" for a single sweep, else what the members differ in: "sizes" (numbers of training images) or
    "transfer" (image sides). `number` is a member's own.

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

    def __init__(self, folder: Path, number: int | None = None):
        self.folder, self.number = folder, number
        self.joined: Members | None = read_members(folder)
        self.design: Literal["plain", "sizes", "transfer"] = self.joined.design if self.joined else "plain"
        self.experiment: Experiment = self.joined.experiment if self.joined else Store(folder).experiment

    @cached_property
    def members(self) -> list[Results]:
        """The members that have been started, by number; none for a plain sweep."""
        started = self.joined.started(self.folder) if self.joined else {}
        return [Results(path, number) for number, path in started.items()]

    def at(self, number: int) -> Results:
        """The member of that many training images, or of that side. Raises StudyError for one that is not there."""
        for member in self.members:
            if member.number == number:
                return member
        known = ", ".join(f"{member.number:,}" for member in self.members)
        raise StudyError(f"{self.folder} has no results at {number:,}: it has {known or 'none'}")

    # ------------------------------------------------------------ what lies in the folder

    @cached_property
    def looks(self) -> Looks | None:
        """The planned looks and those that were taken; None if the seeds were not planned in looks."""
        return read_looks(self.folder)

    @cached_property
    def tuned(self) -> Tuned | None:
        """How learning rates were tuned, if they were."""
        return read_tuned(self.folder)

    @cached_property
    def commands(self) -> list[str]:
        """The commands that were given here, the first one first."""
        path = self.folder / "commands.txt"
        lines = read_text(path).splitlines() if path.exists() else []
        return list(filter(None, map(str.strip, lines)))

    @cached_property
    def claims_history(self) -> list[dict[str, Any]]:
        """Every version of the claims, with when it was stated and how many runs were done by then."""
        return read_claims(self.folder)

    @cached_property
    def environments(self) -> list[dict[str, Any]]:
        """The environments in which finished runs were made, each once."""
        made = [record.result["environment"] for record in self.records]
        path = self.folder / "environments.json"
        if not made and path.exists():
            made = read_json(path)
        return [environment for place, environment in enumerate(made) if environment not in made[:place]]

    @cached_property
    def _read(self) -> tuple[list[Record], list[tuple[Run, dict[str, Any]]], dict[str, str]]:
        """Records in the order of variants and seeds; runs that failed; a sentence for each damaged run, by its id."""
        records, failed, damaged = read_records(self.folder)
        places = {label: place for place, label in enumerate(self.experiment.variants)}
        records.sort(key=lambda each: (places.get(each.run.label, len(places)), each.run.label, each.run.seed))
        return records, failed, damaged

    @property
    def records(self) -> list[Record]:
        """What the finished runs left, by variant and seed; empty where only the tables are here."""
        return self._read[0]

    @property
    def failed(self) -> list[tuple[Run, dict[str, Any]]]:
        """Runs without a result whose last attempt failed, with what it left."""
        return self._read[1]

    @property
    def damaged(self) -> list[str]:
        """A sentence for each run whose files cannot be read or do not belong together. It is in no table."""
        return list(self._read[2].values())

    # ------------------------------------------------------------ tables and views

    @cached_property
    def tables(self) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
        """`runs` and `curves` by the end of their files' names: "", and SHARED where all variants are run twice."""
        ends = ["", SHARED] if self.experiment.runs_twice else [""]
        if (self.folder / "runs").is_dir() or not (self.folder / "runs.csv").exists():
            return {end: of_records(self._at_rates(shared=bool(end))) for end in ends}
        return {
            end: (read_csv(self.folder / f"runs{end}.csv"), read_csv(self.folder / f"curves{end}.csv"))
            for end in ends
            if (self.folder / f"runs{end}.csv").exists()
        }

    def _at_rates(self, shared: bool) -> Iterable[Record]:
        """Where learning rates are tuned: those at each variant's own rate, or those at the rate that all share."""
        own, recipe = self.experiment.rates, self.experiment.training.lr
        for record in self.records:
            if not own or record.run.training.lr == (recipe if shared else own.get(record.run.label, recipe)):
                yield record

    @property
    def runs(self) -> pd.DataFrame:
        """One row a finished run, at its own learning rate; columns as in analysis/run_tables.py."""
        return self.tables[""][0]

    @property
    def curves(self) -> pd.DataFrame:
        """One row an evaluation of these runs; columns as in analysis/run_tables.py."""
        return self.tables[""][1]

    @cached_property
    def views(self) -> list[View]:
        """What is ranked and tested: the runs, or those at tuned rates and those at the shared one; none of members.

        After a look the seeds of that look, at its level; before the first one nothing is tested.
        """
        if self.joined:
            return []
        shared = f"At the learning rate {self.experiment.training.lr:g} for all"
        titles = {"": "At tuned learning rates" if self.experiment.rates else "", SHARED: shared}
        found = []
        for end, (runs, curves) in self.tables.items():
            level, untested, seeds = None, "", self.experiment.seeds
            if self.looks is not None:
                last, first = self.looks.last, self.looks.planned[0]
                if last is None:
                    untested = f"its seeds come in looks, the first after {first.seeds}, and nothing is tested before"
                else:
                    level, seeds = last.alpha, tuple(self.looks.seeds(last))
                    runs = runs[runs["seed"].isin(seeds)]
                    curves = of_runs(curves, runs["run"])
            found.append(View(titles[end], self.experiment, runs, curves, level, untested, seeds, self.own))
        return found

    @property
    def view(self) -> View:
        """The first view. Raises StudyError for a folder of members, which have views of their own."""
        if not self.views:
            raise StudyError(f"{self.folder} holds a results folder for each of its members: name one of them")
        return self.views[0]

    def write_tables(self) -> list[Path]:
        """Remake `environments.json`, `runs.csv` and `curves.csv`, and those at the shared rate; the tables' paths.

        Where the shared rate is not asked for any more, its tables go; the records stay.
        """
        write_json(self.folder / "environments.json", self.environments)
        paths = []
        if SHARED not in self.tables and self.records:
            for name in ("runs", "curves"):
                (self.folder / f"{name}{SHARED}.csv").unlink(missing_ok=True)
        for end, tables in self.tables.items():
            for name, table in zip(("runs", "curves"), tables, strict=True):
                paths.append(self.folder / f"{name}{end}.csv")
                with atomic(paths[-1]) as temporary:
                    table.to_csv(temporary, index=False)
        return paths

    @cached_property
    def own(self) -> dict[str, Readout]:
        """Readouts of the user's own by name: those of the claims, whose values lie in the folder, and who was asked
        for in this notebook."""
        if self.joined:
            return {name: readout for member in self.members for name, readout in member.own.items()}
        return own_readouts.kept_readouts(self.folder, self.experiment)

    def keep_readouts(self, experiment: Experiment) -> list[str]:
        """Measure the own readouts of `experiment`, as it was planned now, on all finished runs, and keep the values.

        A sentence for each run on which a function failed.
        """
        curves = [not_diverged(curves, runs) for runs, curves in self.tables.values()]
        return own_readouts.keep(self.folder, experiment, pd.concat(curves).drop_duplicates(["run", "step"]))

    def key(self, readout: str | own_readouts.Function) -> str:
        """The key of a readout that someone names here: a function of a run's curve, or `FILE.py:NAME`, which is run.

        What stands in the folder is not: such a readout is what was measured when its sweep ended.
        """
        if callable(readout):
            found = own_readouts.of_function(readout)
            alike = [name for name in self.own if name == found.name or name.startswith(f"{found.name} (")]
            key = found.name + (f" ({len(alike) + 1})" if alike else "")
            self.own[key] = found  # a function defined anew is another one
            return key
        if own_reference(readout) and readout not in {*self.own, *(claim.readout for claim in self.experiment.claims)}:
            function, facts = own_readouts.find_own(readout, {})
            self.own[readout] = own_readouts.measured_by(function, facts, readout)
        return readout

    # ------------------------------------------------------------ over members: sizes of the training set

    @cached_property
    def points(self) -> pd.DataFrame:
        """Of a folder with sizes: one row a finished run that did not diverge, with POINT_COLUMNS.

        `accuracy` is of the test images at the end of training, `gap` train (probe) minus test accuracy, fractions.
        """
        points = [points_of(member.runs, member.number) for member in self.members]
        return pd.concat(points, ignore_index=True) if points else pd.DataFrame(columns=POINT_COLUMNS)

    @cached_property
    def scaling(self) -> Scaling:
        """Crossings and laws of a folder with sizes. Raises StudyError if fewer than two sizes are finished."""
        if self.design != "sizes":
            raise StudyError(f"{self.folder} does not hold an experiment at several numbers of training images")
        return scale(self.points, samples_seen=self.experiment.training.samples)

    @cached_property
    def by_size(self) -> list[SizeRanking]:
        """Every claim at every size, claim by claim. Over the sizes nothing is corrected."""
        return [
            SizeRanking(member.number or 0, claim, member.view.verdict(claim), member.view.find(claim.readout).title)
            for claim in self.experiment.claims
            for member in self.members
        ]

    # ------------------------------------------------------------ in a notebook

    def measure(self, name: str | own_readouts.Function) -> Measurement:
        """A readout with what must be said of it: the matched region, what was not reached."""
        return self.view.measure(self.key(name))

    def readout(self, name: str | own_readouts.Function) -> pd.DataFrame:
        """Columns variant, seed, value; one row a run. Raises StudyError for an unknown readout."""
        return self.view.readout(self.key(name))

    def summary(self, name: str | own_readouts.Function) -> pd.DataFrame:
        """Columns variant, n, mean, sd, then every seed's value; the best variant first."""
        return self.view.summary(self.key(name))

    def test(
        self,
        claim: Claim | str,
        readout: str | own_readouts.Function = "accuracy_at_matched_loss",
        epsilon: float = 0.01,
        delta: float = 0.03,
        alpha: float = 0.05,
    ) -> ClaimVerdict:
        """Test a claim, or a ranking in the paper's notation with the readout and margins given here.

        A readout may be a function of a run's curve, here as in `readout`, `summary` and `measure`.

        A ranking that is thought of after the runs is an exploration: the claims that were fixed before stand in
        `experiment.claims`.
        """
        if isinstance(claim, str):
            claim = Claim(ranking=claim, readout=self.key(readout), epsilon=epsilon, delta=delta, alpha=alpha)
        return self.view.verdict(claim)

    def forest(self, verdict: ClaimVerdict) -> Figure:
        """All pairwise differences with the intervals that decided them, and the claim's margins."""
        from study.report.claim_figures import forest_plot

        return forest_plot(verdict, find_readout(verdict.claim.readout, self.own)[0].unit)

    def ranks(self, verdict: ClaimVerdict) -> Figure:
        """How probable each rank is for each variant, by the parametric bootstrap."""
        from study.report.claim_figures import rank_heat_map

        return rank_heat_map(verdict)

    def figure(self, name: str) -> Figure:
        """A figure by name: of the curves, of sizes, of the networks. Raises StudyError for an unknown name."""
        from study.report import gallery

        return gallery.figure(self, name)


def load(folder: str | Path) -> Results:
    """The results in a folder that `study sweep` made, or in a committed one without its runs.

    Raises StudyError if the folder holds no results.
    """
    return Results(Path(folder))
