"""How long ``libmoe --help`` takes, as a ratio to a Python that only imports click (goal: <= 2).

python -m benchmarks.cli_start
"""

import statistics
import subprocess
import sys
import time

ROUNDS = 15
CLICK = [sys.executable, "-c", "import click"]
MAIN = [sys.executable, "-c", "from entrypoint.cli import main; main()"]
COMMANDS = {
    "libmoe --help": [*MAIN, "--help"],
    "libmoe train --help": [*MAIN, "train", "--help"],
    "libmoe prepare --help": [*MAIN, "prepare", "--help"],
}


def seconds(command: list[str]) -> float:
    """Wall time of one process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Paired runs; prints the median ratio of each command."""
    seconds(CLICK)
    for name, command in COMMANDS.items():
        seconds(command)
        pairs = [(seconds(command), seconds(CLICK)) for _ in range(ROUNDS)]
        ratio = statistics.median(ours / theirs for ours, theirs in pairs)
        ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
        print(f"{name:24} {ours * 1000:6.0f} ms   import click {theirs * 1000:6.0f} ms   ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
