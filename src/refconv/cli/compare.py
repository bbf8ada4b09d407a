"""``refconv compare``: methods at equal cost, from a study in TOML to a table, a plot and a record."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from refconv.cli.options import option, switch
from refconv.cli.outputs import draw_table
from refconv.errors import StudyError


def compare(
    study: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="the study")],
    out: Annotated[Path | None, option("FOLDER", "folder; default: runs/NAME of the study", "--out", "-o")] = None,
    jobs: Annotated[int | None, option("N", "runs at a time; default: GPUs, or 1", "--jobs", "-j", min=1)] = None,
    dry_run: Annotated[bool, switch("--dry-run", "show the runs and the time they will take")] = False,
    only: Annotated[str | None, option("PATTERN", "only cells that match, such as 'resnet/*'")] = None,
    journal: Annotated[Path | None, option("FILE", "record finished runs here, and skip those recorded here")] = None,
    threads: Annotated[int | None, option("N", "threads of each run on a CPU", min=1)] = None,
) -> None:
    """Compare methods on equal terms: same base, data, order, schedule and budget for every method of a seed.

    Settings are chosen on a validation split; the test split is read once per final run. What is finished is kept and
    what was interrupted is resumed, so the same command can be repeated at any time.
    """
    from refconv.studies.reading import read_study

    read = read_study(study)
    if out is None and (not read.name or set(read.name) & set("/\\") or read.name.startswith(".")):
        remedy = "give --out"
        raise StudyError("cannot be the name of a folder", where="study.name", found=repr(read.name), remedy=remedy)
    folder = out or Path("runs") / read.name
    from refconv.studies import conduct, pages

    config = conduct.CompareConfig(jobs=jobs, threads=threads, only=only, journal=journal)
    if dry_run:
        found = conduct.preview(read, folder, config)
        _print(found.rows)
        typer.echo(str(found))
        return
    comparison = conduct.compare(read, folder, config)
    _print(pages.results(comparison))
    for line in (*pages.sentences(comparison), "", *pages.notes(comparison)):
        typer.echo(line)
    files = [conduct.RECORD_FILE, conduct.PAGE_FILE, *(conduct.PLOT_FILES if comparison.contrasts else ())]
    typer.echo(f"\n{folder}: {', '.join(files)}")


def _print(rows: list[tuple[str, ...]]) -> None:
    """Print a table: drawn in a terminal, as Markdown in a pipe."""
    if sys.stdout.isatty():
        draw_table(rows)
        return
    from refconv.studies.pages import table

    typer.echo(f"\n{table(rows)}\n")
