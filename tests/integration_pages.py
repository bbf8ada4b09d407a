"""Running a page of docs/integrations as it is written, in the environment of this process.

``docs/integrations/NAME.md`` belongs to ``tests/integrations/ENVIRONMENT/test_NAME.py``, and the packages of the
environment are those of ``requirements.txt`` beside the test, which the page installs. ``make test-integrations`` makes
the environments. Test modules import such packages inside of tests only, so that the default tier can collect them.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "integrations"
TESTS = ROOT / "tests" / "integrations"

#: What a test module of this tier gives its ``pytestmark``: warnings of the other packages are not our errors.
MARKS = [pytest.mark.integrations, pytest.mark.filterwarnings("default")]

#: Programs of the environment beneath, whose scripts would start its Python.
MODULES = {"refconv": "refconv", "torchrun": "torch.distributed.run"}

NOT_RUN = ("pip", "git")  # the environment has what they install, and the test what they fetch


def blocks(name):
    """Return the (language, text) of the fenced blocks of a page, in order."""
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def run_page(name, place, **names):
    """Run the blocks of a page in order in a folder; return the names that its Python blocks have defined.

    Python blocks share their names. One whose first line is a comment such as ``# train.py`` is the text of that
    file, which the commands of the page run.

    Args:
        name: the page.
        place: the folder, which holds the files that the page names.
        names: what the Python blocks find defined.
    """
    for language, text in blocks(name):
        if language == "python" and (file := re.match(r"# (\w+\.py)$", text, re.MULTILINE)):
            (place / file[1]).write_text(text, encoding="utf-8")
        elif language == "python":
            here = Path.cwd()
            os.chdir(place)
            try:
                exec(compile(text, f"{name}.md", "exec"), names)
            finally:
                os.chdir(here)
        elif language == "sh":
            for line in text.replace("\\\n", " ").splitlines():
                if (words := shlex.split(line, comments=True)) and words[0] not in NOT_RUN:
                    run(words, place)
    return names


def run(words, place):
    """Run a command with the programs of this environment in a folder, without a network; return what it printed."""
    words = [sys.executable, "-m", MODULES[words[0]], *words[1:]] if words[0] in MODULES else words
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(words, cwd=place, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr
