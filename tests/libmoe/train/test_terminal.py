"""Standard output belongs to progress."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, subprocess, sys
from libmoe.train.terminal import claim_stdout
say = claim_stdout()
print("a library prints"); sys.stdout.flush()
os.write(1, b"so does C++\\n")
subprocess.run(["echo", "and a compiler"])
say("step 1/2")
"""


def test_only_progress_reaches_stdout():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=Path(__file__).parents[3]
    )
    assert done.stdout == "step 1/2\n"
    for line in ("a library prints", "so does C++", "and a compiler"):
        assert line in done.stderr
