"""What every design shares: members, how to run them, and the one loop that does.

A design says which sweeps there are (its members) and, once they are done, what is read from them together. `carry_out`
plans, measures, announces and drives them, with one set of stop rules and one exit code for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from study.analysis.own_readouts import with_readouts
from study.analysis.readouts import find_readout
from study.config import Experiment, Run, own_reference
from study.environment import code_version, same_code
from study.errors import StudyError, last_line
from study.report.console import finish_sweep
from study.report.table import plural
from study.report.table import say as tell
from study.results import load
from study.sweep import attempts
from study.sweep.display import display, duration
from study.sweep.drive import Outcome, drive, pending
from study.sweep.executors import Executor, Wandb, make_executor
from study.sweep.executors.local import Local
from study.sweep.measure import Speed, estimate, measure, whole_run
from study.sweep.plan import Plan
from study.sweep.status import makers
from study.sweep.store import DONE, OVER, TUNING, Store, stop_token

COMPLETE, FAILURES, INCOMPLETE = 0, 1, 3  # exit codes: all done; some runs failed; stopped before the end


@dataclass(frozen=True)
class Options:
    """How to run, which decides no result: where, on what, how many at a time, until when."""

    out: Path | None = None
    on: str = "local"
    agents: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict)  # the executor's own
    address: str | None = None  # of a cluster that is there already
    device: str = "auto"
    data_dir: Path | None = None
    wandb: Wandb = "off"
    dry_run: bool = False
    fail_fast: bool = False
    retry_failed: bool = False
    deadline: float | None = None  # of time.monotonic()
    command: str = ""


@dataclass(frozen=True)
class Member:
    """One sweep of a design: a results folder and the runs that belong into it."""

    folder: Path
    plan: Plan

    @classmethod
    def of(cls, folder: Path, plan: Plan) -> Member:
        """With the own readouts of its claims, each of them tried. Raises StudyError for one that does not work."""
        return cls(folder, replace(plan, experiment=with_readouts(plan.experiment, plan.train_images)))


@dataclass
class Design:
    """How an experiment is laid out over sweeps: the base of all designs."""

    experiment: Experiment
    options: Options

    @property
    def folder(self) -> Path:
        """The results folder that holds everything."""
        return folder_of(self.experiment, self.options)

    def prepare(self) -> None:
        """Write what stands above the members, before anything is known of them. Not called for a dry run."""

    def stages(self) -> Iterator[Sequence[Member]]:
        """Members to run together; the next ones are asked for when all runs of these have a result."""
        raise NotImplementedError

    def show(self, console: Console, say: Console, as_json: bool, complete: bool) -> None:
        """What is read from the members together, at the end of a call: to `console`, remarks to `say`.

        Of one sweep tables, figures and the ranking; the verdicts on its claims with the last run and not before, or
        those of the last look. Who looks at every run that ends, and stops when a verdict pleases, is fooled.
        """
        finish_sweep(self.folder, console, say, as_json, claims=complete)


@dataclass
class Ended:
    """How a call ended: its exit code, and for a dry run what it would have done."""

    code: int = COMPLETE
    planned: list[dict[str, Any]] = field(default_factory=list)


def folder_of(experiment: Experiment, options: Options) -> Path:
    """The results folder: as named, else `results/<experiment>-<dataset>`."""
    return options.out or Path("results") / f"{experiment.name}-{experiment.data.slug}"


def check_claims(experiment: Experiment, known: Sequence[str]) -> None:
    """Refuse claims that could never be tested, before anything runs. `known` are the variants that may be named.

    Raises StudyError for an unknown readout and for a variant that is not in the experiment.
    """
    for claim in experiment.claims:
        if not own_reference(claim.readout):  # those are tried when their length is known: `Member.of`
            find_readout(claim.readout)
        if strangers := [variant for variant in claim.order.variants if variant not in known]:
            raise StudyError(
                f"the claim {claim.ranking} names {', '.join(strangers)}, which the experiment {experiment.name} "
                f"lacks: it has {', '.join(known)}"
            )


def carry_out(design: Design, options: Options, say: Console) -> Ended:
    """Run every member of a design that is not done; the same call continues what was stopped or interrupted.

    A dry run measures and says how long it will take, and writes nothing.
    """
    ended, speeds = Ended(), Speeds()
    there = next(each for each in (design.folder, *design.folder.parents) if each.exists())
    if not there.is_dir():
        raise StudyError(f"{there} is no folder: choose another place with --out")
    executor = make_executor(
        options.on, device=options.device, agents=options.agents, settings=options.settings, address=options.address
    )
    if not options.dry_run:
        design.prepare()
    for members in design.stages():
        asked = {member.folder: stop_token(member.folder) for member in members}
        planned = _announce(members, options, executor, speeds, say)
        if options.dry_run:  # what follows depends on results
            ended.planned = planned
            break
        if any(stop_token(folder) != known for folder, known in asked.items()):
            tell("stopped by study stop before its first run; the same command continues", say)
            ended.code = INCOMPLETE
            break
        ended.code = _run(members, options, executor, say)
        if ended.code != COMPLETE:
            break
    return ended


class Speeds:
    """The speed of each network as it will be trained, measured once in a call however many members share it."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], Speed] = {}

    def of(self, plan: Plan, executor: Local, at_once: int) -> dict[str, Speed]:
        """Seconds of a step and of an evaluated batch, by label."""
        recipe, side = plan.experiment.training.model_copy(update={"lr": 1e-3}), plan.experiment.data.image_size
        keys = {
            label: (network.model_dump_json(), recipe, plan.classes, side)  # switches of one's own are no hashable dict
            for label, network in plan.variants.items()
        }
        unknown = {label: network for label, network in plan.variants.items() if keys[label] not in self._known}
        if unknown:
            found = measure(unknown, recipe, plan.classes, side, executor.slots[:at_once])
            self._known |= {keys[label]: speed for label, speed in found.items()}
        return {label: self._known[key] for label, key in keys.items()}


def _announce(
    members: Sequence[Member], options: Options, executor: Executor, speeds: Speeds, say: Console
) -> list[dict[str, Any]]:
    """Say of every member what is there and what is to come, and of all together how long it will take here."""
    planned, to_come = [], []
    for member in members:
        experiment, runs = member.plan.experiment, member.plan.runs
        store = Store(member.folder) if (member.folder / "experiment.json").is_file() else None
        if store and store.has_started():
            store.joined_by(experiment, runs)  # or is refused, before anything is measured
        missing = pending(store, runs, options.retry_failed) if store else runs
        ended = len(runs) - len(missing)
        others = [code for code in makers(store, runs) if not same_code(code)] if store else []
        tell(f"{experiment.name} on {experiment.data.name}: {len(runs)} runs, {ended} ended, in {member.folder}", say)
        if others:
            tell(f"runs here were made or begun by other code ({', '.join(others)}); this is {code_version()}", say)
        if experiment.rates:
            tuned = ", ".join(f"{label} {rate:g}" for label, rate in experiment.rates.items())
            also = f"; then all at {experiment.training.lr:g}" if experiment.runs_twice else ""
            tell(f"tuned learning rates: {tuned}{also}", say)
        elif (member.folder / TUNING).is_dir():
            tell(f"study tune has not ended in {member.folder}: all train at {experiment.training.lr:g}", say)
        planned.append({"folder": str(member.folder), "runs": len(runs), "ended": ended})
        to_come.append((member, missing))
    if count := sum(len(missing) for _, missing in to_come):
        at_once = min(count, executor.agents)
        on, about = executor.name, ""
        if isinstance(executor, Local):  # other machines are not measured from here
            each = []
            for member, missing in to_come:
                known = speeds.of(member.plan, executor, at_once) if missing else {}
                whole = {label: whole_run(member.plan, speed) for label, speed in known.items()}
                each += [whole[run.label] * (1 - _part_done(member, run)) for run in missing]
            seconds = estimate(each, at_once)
            on, about = executor.slots[0].device, f": about {duration(seconds)}"
            planned[-1]["seconds_left_of_all"] = round(seconds)
        tell(f"{plural(count, 'run')} to go, {at_once} at a time on {on}{about}", say)
    return planned


def _part_done(member: Member, run: Run) -> float:
    """How much of a run that was interrupted, or that another sweep has at work, is behind it."""
    last = attempts.last(member.folder / "runs" / run.id)
    return min(1.0, last.live.get("step", 0) / member.plan.steps) if last else 0.0


def _run(members: Sequence[Member], options: Options, executor: Executor, say: Console) -> int:
    """Drive what is missing of the members; the exit code, judged by what lies in their folders."""
    planned: list[tuple[Store, list[Run]]] = []
    for member in members:
        runs = member.plan.runs
        store = Store.create(member.folder, member.plan.experiment, runs)
        store.record_command(options.command)
        planned.append((store, runs))
    work = [(store, pending(store, runs, options.retry_failed)) for store, runs in planned]
    with display(say, sum(len(runs) for _, runs in work)) as shown:
        outcome = drive(
            work,
            executor,
            shown,
            data_dir=options.data_dir,
            wandb=options.wandb,
            fail_fast=options.fail_fast,
            deadline=options.deadline,
            retry_failed=options.retry_failed,
        )
    states = [store.state(run.id) for store, runs in planned for run in runs]
    _say_what_went_wrong(planned, outcome, say)
    if outcome.stopped:
        ended = sum(state in OVER for state in states)
        tell(f"stopped by {outcome.stopped}: {ended} of {len(states)} runs have ended; the same command continues", say)
    wrong = [
        sentence
        for member in members
        if member.plan.experiment.readouts
        for sentence in load(member.folder).keep_readouts(member.plan.experiment)
    ]
    if wrong:
        raise StudyError(f"{wrong[0]}: mend the readout, and the same command measures it without training again")
    if "failed" in states:
        return FAILURES
    return COMPLETE if all(state in DONE for state in states) else INCOMPLETE


def _say_what_went_wrong(planned: Sequence[tuple[Store, list[Run]]], outcome: Outcome, say: Console) -> None:
    """What a person has to know of runs that did not end well."""
    for store, runs in planned:
        for run in runs:
            where = store.path(run.id)
            if run.id in outcome.failed:
                tell(f"failed: {_last_words(store, run)}", say, "red")
            elif run.id in outcome.killed:
                tell(f"killed: {where}; the same command continues it", say, "red")
            elif run.id in outcome.elsewhere:
                tell(f"another sweep is running {where}", say)
            elif store.state(run.id) == "failed":
                tell(f"failed before: {_last_words(store, run)}; --retry-failed tries again", say, "red")
        for damaged in store.damaged().values():
            tell(damaged, say, "red")


def _last_words(store: Store, run: Run) -> str:
    return f"{last_line(store.failure(run.id)['log'])} ({store.path(run.id) / 'log.txt'})"
