"""Which architectures can be refocused, trained and merged? Every model name of timm and torchvision, counted.

    python benchmarks/coverage.py [--jobs 2] [--only 'timm:resnet*'] [--limit-params 60] [--minutes 50] [--retry]

First every name is planned on the meta device. Then every model with convolution kernels of more than one tap and less
than ``--limit-params`` million parameters goes through a real life (architectures/trial.py): refocus, random refocus
weights, one training step, merge, strict load into a fresh plain model, outputs compared. Small models come first.

What was done is kept in benchmarks/coverage/*.jsonl and not done again for the same versions, so a walk can be stopped
and resumed. Whenever it ends, it prints a table and writes docs/coverage.md. ``--page`` does only that.
"""

from __future__ import annotations

import argparse
import fnmatch
import time
from collections.abc import Sequence

from architectures.ledger import Ledger
from architectures.names import Name, every_name
from architectures.page import one_line, per_model, write_page
from architectures.trial import structure, trial
from architectures.workers import Limits, Work, each
from pages import ROOT

FOLDER = ROOT / "benchmarks" / "coverage"
PAGE = ROOT / "docs" / "coverage.md"


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time, one thread each")
    parser.add_argument("--only", default="*", help="glob on names such as timm:resnet18")
    parser.add_argument("--limit-params", type=float, default=60, help="millions of parameters up to which to try")
    parser.add_argument("--time-limit", type=float, default=240, help="seconds for one model")
    parser.add_argument("--memory", type=float, default=9, help="GB for one model")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no further model after this time")
    parser.add_argument("--retry", action="store_true", help="try again what failed before")
    parser.add_argument("--page", action="store_true", help="only write the page from what is recorded")
    return parser.parse_args()


def walk(work: Work, ledger: Ledger, names: Sequence[Name], options: argparse.Namespace, end: float) -> None:
    """Do some work for every name that its ledger lacks."""
    known = [name for name, record in ledger.records.items() if not (options.retry and "error" in record)]
    missing = [name for name in names if name not in set(known) and fnmatch.fnmatch(str(name), options.only)]
    in_time = (name for name in missing if time.monotonic() < end)
    limits = Limits(options.time_limit, int(options.memory * 1e9))
    for count, record in enumerate(each(work, in_time, options.jobs, limits), start=1):
        ledger.add(record)
        print(f"{work.__name__} {count}/{len(missing)} {record['name']}: {one_line(record)}", flush=True)


def main() -> None:
    """Walk all names, then write the page."""
    options = arguments()
    end = time.monotonic() + 60 * options.minutes
    names = every_name()
    structures, trials = Ledger(FOLDER / "structures.jsonl"), Ledger(FOLDER / "trials.jsonl")
    if not options.page:
        walk(structure, structures, names, options, end)
        planned = {name: record for name, record in structures.records.items() if record.get("kernels")}
        small = [name for name, record in planned.items() if record["parameters"] < 1e6 * options.limit_params]
        small.sort(key=lambda name: (planned[name]["parameters"] + planned[name]["extra_parameters"], name))
        walk(trial, trials, small, options, end)
    structures.write(names)
    trials.write(names)
    chosen = [name for name in names if fnmatch.fnmatch(str(name), options.only)]
    print(per_model(chosen, structures.records, trials.records))
    write_page(PAGE, names, structures.records, trials.records, options.limit_params)


if __name__ == "__main__":
    main()
