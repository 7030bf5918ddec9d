"""``python -m libmoe.train RUN_JSON``: one rank of a run, started by the launcher or by torchrun."""

import ctypes
import faulthandler
import logging
import os
import signal
import sys
import warnings
from pathlib import Path

from libmoe.config.errors import ConfigError, UsageError
from libmoe.config.run import RunSpec
from libmoe.lasting import lasting
from libmoe.train.failure import report_failure
from libmoe.train.heartbeat import Heartbeat
from libmoe.train.terminal import Say, claim_stdout, silent

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Runs the rank that the environment names; returns the exit code."""
    _belong_to_the_launcher()
    say = claim_stdout()
    rank = int(os.environ.get("RANK", "0"))
    warnings.filterwarnings("ignore", "`torch.distributed.*deprecated", FutureWarning)  # DeepSpeed's calls
    logging.basicConfig(format=f"%(asctime)s rank {rank} %(levelname)s %(name)s: %(message)s")
    logging.getLogger("libmoe").setLevel(logging.INFO)
    if len(arguments) != 1:
        logging.error("Training takes one argument, a run.json: start it with `libmoe train`.")
        return UsageError.exit_code
    run_json = Path(arguments[0])
    try:
        _train(RunSpec.read(run_json), say if rank == 0 else silent, Heartbeat(rank))
    except Exception as error:
        return report_failure(run_json.parent, rank, error)
    return 0


def _train(spec: RunSpec, say: Say, heartbeat: Heartbeat) -> None:
    size = os.environ.get("WORLD_SIZE", "1")
    if size != str(spec.world.size):
        raise ConfigError(
            f"{size} training processes were started for a run of {spec.world.size}: use `libmoe train`."
        )
    if spec.world.device == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"  # DeepSpeed would take a GPU that the run does not use
    say(f"stage {spec.config.stage}  loading the libraries")
    heartbeat.beat("loading the libraries")
    with lasting():
        from libmoe.train.run import run  # seconds of imports, after the reader knows that something happens

    run(spec, say, heartbeat)


def _belong_to_the_launcher() -> None:
    """Ends with whoever started it, even if that is killed; shows its stacks when it is asked to."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    faulthandler.register(signal.SIGUSR1, all_threads=True, chain=False)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)  # other ranks may be gone: an orderly end of the process group could wait for ever
