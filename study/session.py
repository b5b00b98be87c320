"""What `study sweep` does, from an experiment to its ranking: plan, measure, run, and, if asked, add seeds in looks.

It stands above the sweep, which knows nothing of claims, and above the analysis, which never starts a run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from study.analysis.claims import verdict_on
from study.analysis.sequential import Look, decided, plan_looks
from study.analysis.verdicts import ClaimVerdict
from study.config import Experiment, Run
from study.errors import StudyError
from study.files import write_json
from study.sweep.display import display, duration
from study.sweep.drive import Outcome, drive, pending
from study.sweep.executors.local import Local, Slot, slots
from study.sweep.measure import Speed, estimate, measure
from study.sweep.plan import Plan, make_plan
from study.sweep.store import Store
from study.sweep.tuned import at_tuned_rates, read_tuned

COMPLETE, FAILURES, INCOMPLETE = 0, 1, 3  # exit codes: all done; some runs failed; stopped before the end


@dataclass(frozen=True)
class Options:
    """How to run, which decides no result: where, how many at a time, until when."""

    out: Path | None = None
    jobs: int | None = None
    device: str = "auto"
    data_dir: Path | None = None
    wandb: str = "off"
    dry_run: bool = False
    fail_fast: bool = False
    retry_failed: bool = False
    deadline: float | None = None  # of time.monotonic()
    until_decided: bool = False
    max_seeds: int = 20
    command: str = ""


def folder_of(experiment: Experiment, options: Options) -> Path:
    """The results folder: as named, else `results/<experiment>-<dataset>`."""
    return options.out or Path("results") / f"{experiment.name}-{experiment.data.slug}"


class Session:
    """One call of `study sweep`. `run` returns the store (None for a dry run where none exists) and the exit code."""

    def __init__(
        self,
        experiment: Experiment,
        options: Options,
        say: Console,
        planner: Callable[[Experiment, Path | None], Plan] = make_plan,
    ):
        self.experiment, self.options, self.say, self.planner = experiment, options, say, planner
        self.places: Sequence[Slot] = slots(options.device, options.jobs)
        self.speeds: dict[str, Speed] = {}
        self.stopped = ""  # why the sweep left before all was done
        self.looks: tuple[Look, ...] = ()
        if options.until_decided:
            if not experiment.claims:
                raise StudyError(f"--until-decided: the experiment {experiment.name} states no claim to decide")
            self.looks = plan_looks(options.max_seeds, self._alpha)

    def run(self) -> tuple[Store | None, int]:
        if not self.looks:
            return self._stage(self.experiment)
        store, code, taken = None, COMPLETE, []
        for look in self.looks:
            self.say.print(f"look {look.number} of {len(self.looks)}: {look.seeds} seeds, level {look.alpha:.5f}")
            store, code = self._stage(self.experiment.model_copy(update={"seeds": tuple(range(look.seeds))}))
            if store is None or code != COMPLETE:
                break
            verdicts = self._verdicts(store, look)
            taken.append({**asdict(look), "verdicts": [verdict.sentence for verdict in verdicts]})
            write_json(store.folder / "looks.json", {"planned": [asdict(x) for x in self.looks], "taken": taken})
            for verdict in verdicts:
                self.say.print(f"  {verdict.ranking}: {verdict.sentence}", soft_wrap=True, highlight=False)
            if all(decided(verdict) for verdict in verdicts):
                self.say.print("every relation is decided: no further seeds are needed")
                break
        return store, code

    def _verdicts(self, store: Store, look: Look) -> list[ClaimVerdict]:
        """The claims tested at a look's level, on the seeds of that look."""
        runs, curves = store.results(), store.curves()
        runs = runs[runs["seed"] < look.seeds]
        curves = curves[curves["run"].isin(runs["run"])]
        return [
            verdict_on(claim, curves, runs, alpha=look.alpha * claim.alpha / self._alpha, draws=0)
            for claim in self.experiment.claims
        ]

    @property
    def _alpha(self) -> float:
        return min(claim.alpha for claim in self.experiment.claims)

    def _stage(self, experiment: Experiment) -> tuple[Store | None, int]:
        """Run what is missing of one fixed set of variants and seeds."""
        options, say = self.options, self.say
        folder = folder_of(experiment, options)
        experiment = at_tuned_rates(experiment, read_tuned(folder))
        plan = self.planner(experiment, options.data_dir)
        exists = (folder / "experiment.json").exists()
        store = (Store(folder) if exists else None) if options.dry_run else Store.create(folder, plan.experiment)
        missing = pending(store, plan.runs, options.retry_failed) if store else plan.runs
        ended = len(plan.runs) - len(missing)
        say.print(f"{experiment.name} on {experiment.data.name}: {len(plan.runs)} runs, {ended} ended, in {folder}")
        if rates := plan.experiment.rates:
            tuned = ", ".join(f"{label} {rate:g}" for label, rate in rates.items())
            say.print(f"tuned learning rates: {tuned}; then all at {plan.experiment.training.lr:g}", soft_wrap=True)
        if missing:
            self._announce(plan, missing)
        if options.dry_run or store is None:
            return store, COMPLETE
        store.record_command(options.command)
        with display(say, len(missing), len(self.places)) as shown:
            outcome = drive(
                [(store, missing)],
                Local(self.places),
                shown,
                data_dir=options.data_dir,
                wandb=options.wandb,
                fail_fast=options.fail_fast,
                deadline=options.deadline,
                retry_failed=options.retry_failed,
            )
        self.stopped = outcome.stopped
        self._report(store, outcome)
        failed = any(store.state(run.id) == "failed" for run in plan.runs)
        if failed or outcome.killed:
            return store, FAILURES
        return store, INCOMPLETE if outcome.stopped or outcome.elsewhere else COMPLETE

    def _announce(self, plan: Plan, missing: Sequence[Run]) -> None:
        """Measure each variant once, and say how long the missing runs will take."""
        at_once = self.places[: len(missing)]
        if not self.speeds:
            side = plan.experiment.data.image_size
            self.speeds = measure(plan.variants, plan.experiment.training, plan.classes, side, at_once)
        expected = duration(estimate(missing, plan, self.speeds, len(at_once)))
        self.say.print(f"{len(missing)} runs to go, {len(at_once)} at a time on {at_once[0].device}: about {expected}")

    def _report(self, store: Store, outcome: Outcome) -> None:
        """What a person has to know of runs that did not end well."""
        say = self.say
        for run_id in outcome.failed:
            log = store.failure(run_id)["log"].strip()
            last = log.splitlines()[-1] if log else "no message"
            say.print(f"[red]failed:[/red] {escape(last)} ({store.path(run_id) / 'log.txt'})", soft_wrap=True)
        for run_id in outcome.killed:
            say.print(f"[red]killed:[/red] {store.path(run_id)}; the same command continues it", soft_wrap=True)
        for run_id in outcome.elsewhere:
            say.print(f"another sweep is running {store.path(run_id)}", soft_wrap=True)
        if outcome.stopped:
            say.print(f"stopped by {outcome.stopped}; the same command continues")
