"""Windows and macOS, simulated: what they lack is hidden before refconv is imported; mypy checks types for both."""

import pytest

from ready_processes import run_script

SCRIPT = """
import os, signal, sys
# Other libraries are imported as on this system; they look after other systems themselves.
import filelock, rich, scipy.stats, sklearn.datasets, timm, tomli_w, torch._dynamo, torchvision, typer.main
import asyncio, shutil, subprocess, tempfile
import multiprocessing.forkserver, multiprocessing.popen_forkserver, multiprocessing.resource_sharer

system, out = sys.argv[1:]
for module in ("fcntl", "resource", "termios", "tty", "pty", "pwd", "grp", "readline", "syslog"):
    sys.modules[module] = None
absent = {"win32": [
    "register_at_fork", "O_CLOEXEC", "fork", "getloadavg", "geteuid", "getuid", "killpg", "setsid",
    "getpgid", "getpgrp", "nice", "statvfs", "uname", "mkfifo", "fchmod", "chown", "sysconf", "posix_fallocate",
], "darwin": ["posix_fallocate", "posix_fadvise", "memfd_create", "pipe2"]}[system]
for name in absent:
    vars(os).pop(name, None)
for name in ("sched_getaffinity", "sched_setaffinity"):
    vars(os).pop(name, None)
if system == "win32":
    for name in ("pthread_sigmask", "SIG_BLOCK", "SIG_SETMASK", "SIG_UNBLOCK", "SIGUSR1", "SIGUSR2", "SIGHUP",
                 "SIGKILL", "SIGALRM", "alarm", "setitimer", "SIGPIPE", "SIGQUIT", "sigwait", "SIGCHLD"):
        vars(signal).pop(name)
sys.platform = system

import importlib, pkgutil
import refconv
for found in pkgutil.walk_packages(refconv.__path__, "refconv."):
    if found.name.rpartition(".")[2] not in {"__main__", "on_ray", "on_slurm"}:
        importlib.import_module(found.name)

from refconv.cli import main
def run(*words):
    assert main(list(words)) == 0, words
small = ["--data", "digits", "--model", "refconv.models.networks:mobilenet_small", "--model-kwargs", "width=0.25"]
run("train", *small, "--epochs", "1", "--out", out)
run("eval", out)
run("merge", out, "--out", out + "-merged")
run("verify", out, out + "-merged")
"""


@pytest.mark.parametrize("system", ["win32", pytest.param("darwin", marks=pytest.mark.slow)])
def test_every_module_imports_and_a_run_works(system, tmp_path):
    done = run_script(SCRIPT, system, tmp_path / "run", without_refconv=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/record.json").is_file()
    assert (tmp_path / "run-merged/model.safetensors").is_file()
    assert not [file.name for file in tmp_path.rglob("*") if set(file.name) & set('<>:"|?*')]
