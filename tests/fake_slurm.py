"""The programs of Slurm that submitit calls, on this machine: jobs are processes, and start at once.

``install`` puts them into a folder. The folder of the variable FAKE_SLURM holds a file for each job with its state.
"""

import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

NAMES = ("sbatch", "srun", "sacct", "scancel", "scontrol")


def install(folder):
    """Write the programs into a folder, and return it."""
    folder.mkdir()
    for name in NAMES:
        path = folder / name
        path.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).resolve()} {name} "$@"\n', encoding="utf-8")
        path.chmod(0o755)
    return folder


def job_file(name):
    return Path(os.environ["FAKE_SLURM"], f"{name}.json")


def read(name):
    return json.loads(job_file(name).read_text(encoding="utf-8"))


def note(name, **facts):
    path = job_file(name)
    known = read(name) if path.is_file() else {}
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps({**known, **facts}), encoding="utf-8")
    partial.replace(path)


def files_of(pid):
    """Return the files that a process holds open."""
    try:
        return {str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    except OSError:
        return set()


def below(pid):
    """Return the processes that a process started, and those that these started."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    found = [int(child) for child in children.read_text().split()] if children.exists() else []
    return [*found, *(one for child in found for one in below(child))]


def kill(name, state, number=signal.SIGKILL):
    """End a job as Slurm would, in a state."""
    note(name, state=state)
    for pid in [read(name)["pid"], *below(read(name)["pid"])]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def warn(name):
    """Send the warning before a time limit to all processes of a job's step."""
    shell, *step = below(read(name)["pid"])
    del shell
    for pid in step:
        os.kill(pid, signal.SIGUSR2)


def sbatch(script):
    text = Path(script).read_text(encoding="utf-8")
    number = 100 + len(list(Path(os.environ["FAKE_SLURM"]).glob("*.sh")))
    kept = Path(os.environ["FAKE_SLURM"], f"{number}.sh")
    kept.write_text(text, encoding="utf-8")
    if "--partition=closed" in text:
        sys.exit("sbatch: error: invalid partition specified: closed")
    array = re.search(r"--array=0-(\d+)", text)
    names = [f"{number}_{i}" for i in range(int(array[1]) + 1)] if array else [str(number)]
    for name in names:
        note(name, state="PENDING", pid=0, times=0)
        command = [sys.executable, __file__, "run", name, str(kept)]
        subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print(f"Submitted batch job {number}")


def run(name, script):
    number, _, task = name.partition("_")
    ids = {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": task} if task else {}
    while True:
        note(name, state="RUNNING", pid=os.getpid(), times=read(name)["times"] + 1, again=False)
        status = subprocess.call(["bash", script], env={**os.environ, **ids, "SLURM_JOB_ID": number})
        if not read(name)["again"]:
            break
    if read(name)["state"] == "RUNNING":
        note(name, state="FAILED" if status else "COMPLETED")


def srun(*arguments):
    program = next(i for i, one in enumerate(arguments) if one.endswith(Path(sys.executable).name))
    options = dict(itertools.pairwise(arguments[:program]))
    for stream, option in ((1, "--output"), (2, "--error")):
        number = os.environ.get("SLURM_ARRAY_JOB_ID", os.environ["SLURM_JOB_ID"])
        path = options[option].replace("%A", number).replace("%a", os.environ.get("SLURM_ARRAY_TASK_ID", ""))
        path = path.replace("%j", number).replace("%t", "0")
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    os.execv(arguments[program], arguments[program:])


def sacct(*arguments):
    print("JobID|State|NodeList")
    wanted = {number for flag, number in itertools.pairwise(arguments) if flag == "-j"}
    for path in sorted(Path(os.environ["FAKE_SLURM"]).glob("*.json")):
        if path.stem.partition("_")[0] in wanted:
            print(f"{path.stem}|{read(path.stem)['state']}|here")


def scancel(name):
    kill(name, "CANCELLED by 0", signal.SIGTERM)


def scontrol(verb, name):
    assert verb == "requeue"
    note(name, again=True)


if __name__ == "__main__":
    {"sbatch": sbatch, "run": run, "srun": srun, "sacct": sacct, "scancel": scancel, "scontrol": scontrol}[sys.argv[1]](
        *sys.argv[2:]
    )
