"""``refconv compare``: methods at equal cost, from a study in TOML to a table, a plot and a record."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from refconv.cli.options import optional
from refconv.errors import StudyError

if TYPE_CHECKING:
    from refconv.studies.comparison import Comparison
    from refconv.studies.pages import Rows


def compare(
    study: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="the study", show_default=False)],
    out: Annotated[
        Path | None, optional("--out", "-o", metavar="FOLDER", help="folder; default: runs/NAME of the study")
    ] = None,
    jobs: Annotated[
        int | None, optional("--jobs", "-j", metavar="N", min=1, help="runs at a time; default: GPUs, or 1")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show the runs and the time they will take")] = False,
    only: Annotated[
        str | None, optional("--only", metavar="PATTERN", help="only cells that match, such as 'resnet/*'")
    ] = None,
    journal: Annotated[
        Path | None,
        optional("--journal", metavar="FILE", help="record finished runs here, and skip those recorded here"),
    ] = None,
    threads: Annotated[
        int | None, optional("--threads", metavar="N", min=1, help="threads of each run on a CPU")
    ] = None,
) -> None:
    """Compare methods on equal terms: same base, data, order, schedule and budget for every method of a seed.

    Settings are chosen on a validation split; the test split is read once per final run. What is finished is kept and
    what was interrupted goes on, so the same command can be given again at any time.

    Raises:
        StudyError: if a study of this name cannot have a folder.
    """
    from refconv.studies.reading import read_study

    read = read_study(study)
    if out is None and (not read.name or set(read.name) & set("/\\") or read.name.startswith(".")):
        raise StudyError(
            "cannot be the name of a folder", where="study.name", found=repr(read.name), remedy="give --out"
        )
    folder = out or Path("runs") / read.name
    from refconv.studies.conduct import CompareConfig
    from refconv.studies.conduct import compare as run

    config = CompareConfig(jobs=jobs, threads=threads, only=only, journal=journal)
    if dry_run:
        from refconv.studies.preview import preview

        found = preview(read, folder, config)
        _print(found.rows)
        typer.echo(str(found))
        return
    _show(run(read, folder, config), folder)


def _show(comparison: Comparison, folder: Path) -> None:
    from refconv.studies.conduct import PAGE_FILE, PLOT_FILES, RECORD_FILE
    from refconv.studies.pages import notes, results, sentences

    _print(results(comparison))
    for line in (*sentences(comparison), "", *notes(comparison)):
        typer.echo(line)
    files = [RECORD_FILE, PAGE_FILE, *(PLOT_FILES if comparison.contrasts else ())]
    typer.echo(f"\n{folder}: {', '.join(files)}")


def _print(rows: Rows) -> None:
    """Print a table: drawn in a terminal, as Markdown in a pipe."""
    if not sys.stdout.isatty():
        from refconv.studies.pages import table

        typer.echo(f"\n{table(rows)}\n")
        return
    from rich.console import Console
    from rich.table import Table

    drawn = Table()
    for title in rows[0]:
        drawn.add_column(title)
    for row in rows[1:]:
        drawn.add_row(*row)
    Console().print(drawn)
