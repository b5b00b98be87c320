"""The answer in one sentence: to the claims of a sweep, to members together, to several studies side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations

from study.analysis.scaling_types import Crossing
from study.analysis.verdicts import ClaimVerdict
from study.analysis.views import View
from study.report.claim_figures import in_order, relation_of
from study.report.table import Table, capitalised, joined_unit, number, plural, shown_unit
from study.report.transfer import transfer_frame
from study.results import Results

WORDS = ("confirmed", "contradicted", "undecided")


def of_sweep(results: Results) -> str:
    """How many of the claimed relations hold, and who is first and last in the means, which claims nothing."""
    view = results.view
    verdicts = view.verdicts
    claimed = [word for verdict in verdicts for word in _claimed(verdict)]
    if {*claimed} - {"untested"}:
        told = f"{_counted(claimed)}; in the means"
    elif verdicts:
        told = f"{capitalised(verdicts[0].sentence)}; in the means"
    else:
        told = "Nothing was claimed beforehand; in the means"
    names = [claim.readout for claim in results.experiment.claims] or ["final_test_accuracy"]
    return f"{told} {_ends(view, names[0])}."


def _claimed(verdict: ClaimVerdict) -> list[str]:
    """The verdict on each relation of a claim, in words; "untested" for each of one that is not tested."""
    if not verdict.untested:
        return [pair.verdict for pair in verdict.relations]
    order = verdict.claim.order
    return ["untested" for pair in combinations(range(len(order.variants)), 2) if order.relation(*pair)]


def _counted(words: Sequence[str]) -> str:
    """`Of 16 claimed relations 3 are confirmed, none contradicted, 7 undecided and 6 untested`."""
    found, total = Counter(words), len(words)
    counts = [str(found[word] or "none") for word in WORDS]
    if total == 1:
        return f"The claimed relation is {words[0]}"
    first = f"{counts[0]} {'is' if found['confirmed'] < 2 else 'are'} confirmed"
    rest = [f"{counts[1]} contradicted", f"{counts[2]} undecided"]
    rest += [f"{found['untested']} untested"] if found["untested"] else []
    return f"Of {total} claimed relations {', '.join([first, *rest[:-1]])} and {rest[-1]}"


def _ends(view: View, name: str) -> str:
    readout = view.find(name)
    known = view.summary(name).dropna(subset="mean")
    if known.empty:
        name, readout = "final_test_accuracy", view.find("final_test_accuracy")
        known = view.summary(name).dropna(subset="mean")
    if known.empty:
        return "there is no value to compare"
    fewest, seeds = int(known["n"].min()), int(known["n"].max())
    means = dict(zip(known["variant"], (number(mean, readout.unit) for mean in known["mean"]), strict=True))
    unit = joined_unit("" if shown_unit(readout.unit) == "%" else " ", readout.unit)
    (first, best), *_, (last, worst) = [*means.items()] * 2
    told = f"{first} is first with {best}{unit}" + (f", {last} last with {worst}{unit}" if last != first else "")
    n = plural(seeds, "seed") if fewest == seeds else f"{fewest} to {seeds} seeds"
    return f"of {n} {told} ({readout.title})"


def of_sizes(results: Results) -> str:
    """Who is first with the fewest images and with the most, and where the one overtakes the other."""
    means = results.points.groupby(["images", "variant"])["accuracy"].mean()
    told, leaders = [], []
    for size in (results.scaling.sizes[0], results.scaling.sizes[-1]):
        best = means[size].sort_values(ascending=False)
        leaders.append(str(best.index[0]))
        told.append(f"{size:,} training images {best.index[0]} is first ({number(best.iloc[0], 'accuracy')}%)")
    crossings = results.scaling.crossings
    turn = [each for each in crossings if [each.overtaken, each.overtakes] == leaders]
    if turn:
        end = f": {turn[-1]}"
    elif len(set(leaders)) == 1:
        above = dict.fromkeys(each.overtakes for each in crossings if each.overtaken == leaders[0])
        others = [each for each in crossings if leaders[0] not in (each.overtakes, each.overtaken)]
        end = ", the same"
        end += f", overtaken in between by {' and '.join(above)}" if above else ""
        end += f"; {_crossings(others, ' among the others')}" if others else ""
    else:
        end = f", after {_crossings(crossings)}"
    return f"With {told[0]} in mean test accuracy, with {told[1]}{end}."


def _crossings(found: Sequence[Crossing], whose: str = "") -> str:
    """How many crossings of the means there are, and in how many of the bootstrap's draws each is."""
    shares = [f"{each.share:.0%}" for each in found if each.share is not None]
    sure = f" (in {' and '.join(shares)} of the bootstrap's draws)" if shares else ""
    return f"{plural(len(found), 'crossing')} of the means{whose}{sure}"


def of_transfer(results: Results) -> str:
    """Who is first after the transfer, at each side of the images."""
    frame = transfer_frame(results)
    frame = frame[(frame["start"] == "pretrained") & frame["accuracy"].notna()]
    if frame.empty:
        return "No run from pretrained weights has an accuracy yet."
    told = []
    for side, part in frame.groupby("image_size"):
        best = part.groupby("variant")["accuracy"].mean().sort_values(ascending=False)
        rest = f", {best.index[-1]} last ({number(best.iloc[-1], 'accuracy')}%)" if len(best) > 1 else ""
        told.append(f"at {side} pixels {best.index[0]} is first ({number(best.iloc[0], 'accuracy')}%){rest}")
    words = [word for each in results.members for verdict in each.view.verdicts for word in _claimed(verdict)]
    means = f"in mean accuracy after transfer, {'; '.join(told)}"
    return f"{_counted(words)}; {means}." if {*words} - {"untested"} else f"{capitalised(means)}."


# ---------------------------------------------------------------- several studies


def compare(studies: Mapping[str, Results]) -> tuple[str, Table]:
    """Each claimed relation with its verdict in each study that tested it: a sentence and the table.

    `studies`: sweeps by the title of their column. A study's relation that another did not claim is "–" there.
    """
    found: dict[tuple[str, str], dict[str, tuple[str, str]]] = {}
    for title, results in studies.items():
        for verdict in results.view.verdicts:
            readout = results.view.find(verdict.claim.readout)
            name = readout.title + verdict.claim.readout.removeprefix(readout.name)
            for pair in in_order(verdict):
                if pair.relation:
                    cell = (pair.verdict, f"{pair.verdict} {number(pair.difference, readout.unit, '+')}")
                    found.setdefault((relation_of(pair), name), {})[title] = cell
    shared = [{word for word, _ in cells.values()} for cells in found.values() if len(cells) > 1]
    agreed = Counter(next(iter(words)) for words in shared if len(words) == 1)
    same = " and ".join(f"{count} {word}" for word, count in agreed.items())
    told = (
        f"Of {len(shared)} claimed relations that more than one of {len(studies)} studies tested, "
        f"{sum(agreed.values())} have the same verdict in each that did{f' ({same})' if same else ''}."
        if shared
        else f"No claimed relation was tested in more than one of these {len(studies)} studies."
    )
    rows = [
        (relation, readout, *(cells.get(title, ("", "–"))[1] for title in studies))
        for (relation, readout), cells in found.items()
    ]
    note = (
        "A verdict and the measured difference, in points or in the readout's unit, positive if the first is better; "
        "– where a study did not claim or could not test it. Every study keeps its own error rate and margins: over "
        "studies nothing is corrected or pooled."
    )
    words = len(studies) + 2
    return told, Table(
        "Claimed relations, study by study", ("relation", "readout", *studies), tuple(rows), (note,), words
    )
