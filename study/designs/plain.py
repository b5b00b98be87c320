"""One sweep: every variant with every seed, in one results folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from study.config import Experiment
from study.designs.base import Design, Member
from study.errors import StudyError
from study.sweep.plan import Facts, make_plan, with_found_sizes
from study.sweep.store import Store
from study.sweep.tuned import NAME, at_tuned_rates, read_tuned


class Plain(Design):
    """The design that most experiments have. Where learning rates were tuned in its folder, it trains at these."""

    def stages(self) -> Iterator[Sequence[Member]]:
        yield [member_of(self.folder, self.experiment, Facts(self.options.data_dir))]


def member_of(folder: Path, experiment: Experiment, facts: Facts) -> Member:
    """The sweep of an experiment into a folder, at the learning rates that were tuned there, if any were.

    Raises StudyError if runs there are at tuned rates that are not known any more.
    """
    experiment = at_tuned_rates(with_found_sizes(experiment, facts), read_tuned(folder))
    if not experiment.rates and (folder / "experiment.json").exists() and Store(folder).experiment.rates:
        raise StudyError(f"{folder / NAME} of the tuned rates there is gone: bring it back, or choose another --out")
    return Member.of(folder, make_plan(experiment, facts=facts))
