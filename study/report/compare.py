"""Two results folders side by side: the settings that differ, and what became of each claim in both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from study.analysis.verdicts import ClaimVerdict
from study.report.claim_figures import relation_of
from study.report.table import Table, number
from study.results import Results

Comparison = dict[str, Any]
NOT_HERE = "not claimed"


def compare(first: Results, second: Results) -> Comparison:
    """What differs, as plain data: `settings` (by dotted name), `claims` (each with its relations), of both folders.

    Claims are the same if ranking and readout are; members and views are compared with those of the same name.
    """
    settings = [_settings(each) for each in (first, second)]
    claims = [dict(_verdicts(each)) for each in (first, second)]
    return {
        "folders": [str(first.folder), str(second.folder)],
        "settings": [
            {"setting": key, "values": [each.get(key) for each in settings]}
            for key in dict.fromkeys([*settings[0], *settings[1]])
            if settings[0].get(key) != settings[1].get(key)
        ],
        "claims": [
            {
                "claim": dict(zip(("part", "ranking", "readout", "unit"), key, strict=True)),
                **_both(*(c.get(key) for c in claims)),
            }
            for key in dict.fromkeys([*claims[0], *claims[1]])
        ],
    }


def _settings(results: Results) -> dict[str, Any]:
    """The experiment's settings by dotted name; its claims' margins; parameters as they were resolved; who made it."""
    dump = results.experiment.model_dump(mode="json", exclude={"claims", "files"})
    found: dict[str, Any] = {str(key): value for key, value in pd.json_normalize(dump).to_dict("records")[0].items()}
    for claim in results.experiment.claims:
        for margin in ("epsilon", "delta", "alpha"):
            found[f"{margin} of {claim.ranking} in {claim.readout}"] = getattr(claim, margin)
    for each in results.members or [results]:
        runs = each.runs
        for variant, parameters in runs.groupby("variant", sort=False)["parameters"].first().items():
            found[f"parameters of {variant}"] = int(parameters)
        found["finished runs" + (f" at {each.number}" if each.number else "")] = len(runs)
    made = [each for member in results.members or [results] for each in member.environments]
    for key in ("code", "torch", "device", "processor"):
        found[f"made with {key}"] = sorted({str(each[key]) for each in made if key in each})
    return found


def _verdicts(results: Results) -> Iterator[tuple[tuple[str, str, str, str], ClaimVerdict]]:
    for each in results.members or [results]:
        for view in each.views if len(each.runs) else ():
            part = " ".join(filter(None, (str(each.number or ""), view.title)))
            for verdict in view.verdicts:
                readout = verdict.claim.readout
                yield (part, verdict.ranking, readout, view.find(readout).unit), verdict


def _both(first: ClaimVerdict | None, second: ClaimVerdict | None) -> dict[str, Any]:
    """The sentences of two verdicts on one claim, and relation by relation verdict and difference."""
    found = [
        {relation_of(pair): (pair.verdict, pair.difference) for pair in each.relations} if each else {}
        for each in (first, second)
    ]
    relations = [
        {
            "relation": name,
            "verdicts": [each.get(name, (None, None))[0] for each in found],
            "differences": [each.get(name, (None, None))[1] for each in found],
        }
        for name in dict.fromkeys([*found[0], *found[1]])
    ]
    return {"sentences": [each.sentence if each else NOT_HERE for each in (first, second)], "relations": relations}


def comparison_tables(found: Comparison) -> list[Table]:
    """What differs, for people: settings, claims, and those relations whose verdicts are not the same."""
    folders = tuple(found["folders"])
    settings = tuple((row["setting"], *map(_short, row["values"])) for row in found["settings"])
    claims = tuple((_named(claim["claim"]), *claim["sentences"]) for claim in found["claims"])
    tables = [
        Table(title, (what, *folders), rows, words=3)
        for title, what, rows in (("Settings that differ", "setting", settings), ("Claims", "claim", claims))
        if rows
    ]
    for claim in found["claims"]:
        unit = claim["claim"]["unit"]
        both = [row for row in claim["relations"] if None not in row["verdicts"]]
        differing = [row for row in both if len(set(row["verdicts"])) > 1]
        words = [map(_word, row["verdicts"], row["differences"], (unit, unit)) for row in differing]
        rows = tuple((row["relation"], *said) for row, said in zip(differing, words, strict=True))
        if rows:
            note = f"Verdict and difference; {len(both) - len(rows)} other relations have the same verdict in both."
            tables.append(Table(_named(claim["claim"]), ("relation", *folders), rows, (note,), words=3))
    return tables


def _named(claim: dict[str, str]) -> str:
    return " ".join(filter(None, (claim["part"], claim["ranking"], f"in {claim['readout']}")))


def _word(verdict: str, difference: float, unit: str) -> str:
    return f"{verdict} {number(difference, unit, '+')}"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "–"
    return "–" if value is None or value != value or value == "" else str(value)
