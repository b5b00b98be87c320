"""The verbs about data: show, prepare, list, rm."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from study.cli.options import DataDir, ImageSize, Json, Settings, What, answer, console, data_app
from study.errors import StudyError
from study.report.table import Table, say

if TYPE_CHECKING:
    from study.data import Dataset
    from study.data.prepared import Entry

Name = Annotated[str, typer.Argument(help="A data set, as in --dataset.")]


def described(data: Dataset, name: str, image_size: int) -> dict[str, Any]:
    """What there is to say of a data set."""
    return {
        "name": name,
        "image_size": image_size,
        "train_images": len(data.train_labels),
        "test_images": len(data.test_labels),
        "classes": data.classes,
        "fingerprint": data.fingerprint,
    }


@data_app.command("show")
def data_show(
    name: Name,
    image_size: ImageSize = None,
    out: Annotated[Path | None, typer.Option(help="The PNG to write; by default NAME.png here.")] = None,
    settings: Settings = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Write a contact sheet of a data set as PNG, a row a class."""
    from study.data import load
    from study.data.show import contact_sheet

    experiment = What(dataset=name, image_size=image_size, settings=settings).experiment()
    path = out or Path(f"{experiment.data.slug}.png")
    data = load(experiment.data, data_dir)
    contact_sheet(data, path)
    answer([path], described(data, name, experiment.data.image_size) | {"sheet": str(path)}, as_json)


@data_app.command("prepare")
def data_prepare(
    name: Name,
    image_size: ImageSize = None,
    settings: Settings = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Make the arrays of a data set on disk: of folder: and hf: on all cores, and the same command continues."""
    from study.data import load

    began = time.monotonic()
    experiment = What(dataset=name, image_size=image_size, settings=settings).experiment()
    data = load(experiment.data, data_dir)
    found = described(data, name, experiment.data.image_size) | {"seconds": round(time.monotonic() - began, 2)}
    told = (
        f"{name}: {found['train_images']:,} training and {found['test_images']:,} test images of "
        f"{found['image_size']} pixels, {found['classes']} classes, fingerprint {found['fingerprint']}, "
        f"in {found['seconds']:.1f} s"
    )
    answer([told], found, as_json)


@data_app.command("list")
def data_list(
    data_dir: DataDir = None,
    check: Annotated[bool, typer.Option("--check", help="Read every byte: is it what was prepared?")] = False,
    as_json: Json = False,
) -> None:
    """What is prepared, where, and how large. With --check, the exit code is 2 if anything is damaged."""
    from study.data import data_folder
    from study.data.prepared import entries

    found = entries(data_folder(data_dir), check)
    wrong = [entry.folder.name for entry in found if entry.state == "damaged"] if check else []
    answer([_table(found)], [entry._asdict() | {"folder": str(entry.folder)} for entry in found], as_json)
    if wrong:
        raise StudyError(f"damaged: {', '.join(wrong)}; study data rm them, and they are prepared anew when needed")


def _table(found: list[Entry]) -> Table:
    header = ("data", "state", "fingerprint", "folder", "pixels", "training", "test", "classes", "MB")
    rows = []
    for entry in found:
        words = (entry.name, entry.state, entry.fingerprint, str(entry.folder))
        counts = (entry.image_size, entry.train_images, entry.test_images, entry.classes)
        numbers = ("" if count is None else f"{count:,}" for count in counts)
        rows.append((*words, *numbers, f"{entry.bytes / 1e6:,.1f}"))
    note = f"{len(found)} prepared, {sum(entry.bytes for entry in found) / 1e9:,.2f} GB in all"
    return Table("", header, tuple(rows), (note,), words=4)


@data_app.command("rm")
def data_rm(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="As `study data list` shows: data or folder.")],
    image_size: Annotated[int | None, typer.Option(help="Only those of this side.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Remove prepared arrays, and nothing else: what they were made from stays."""
    from study.data import data_folder
    from study.data.prepared import entries, remove

    found = entries(data_folder(data_dir))
    chosen: list[Entry] = []
    for name in names:
        known = {name, str(Path(name).expanduser().absolute())}
        fits = [entry for entry in found if known & {entry.name, entry.folder.name, str(entry.folder.absolute())}]
        fits = [entry for entry in fits if image_size in (None, entry.image_size)]
        if not fits:
            raise StudyError(f"nothing is prepared of {name!r}: study data list shows what is")
        chosen += [entry for entry in fits if entry not in chosen]
    size = sum(entry.bytes for entry in chosen)
    if not yes:
        if not sys.stdin.isatty() or as_json:
            raise StudyError(f"{len(chosen)} folders, {size / 1e6:,.1f} MB: say --yes to remove them")
        for entry in chosen:
            say(str(entry.folder), console)
        if not typer.confirm(f"Remove {len(chosen)} folders, {size / 1e6:,.1f} MB?"):
            raise typer.Exit(1)
    for entry in chosen:
        remove(entry.folder)
    folders = [str(entry.folder) for entry in chosen]
    answer([f"removed {folder}" for folder in folders], folders, as_json)
