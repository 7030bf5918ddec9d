"""``python -m libmoe.train.universal CHECKPOINT TARGET``: one from which any number of ranks can go on.

DeepSpeed's universal checkpoint (arXiv:2406.18820): each parameter with its optimizer state is a file.
"""

import os
import shutil
import sys
from argparse import Namespace
from pathlib import Path

from deepspeed.checkpoint.ds_to_universal import main as convert


def make_universal(checkpoint: Path, target: Path) -> None:
    """Converts the optimizer's files, links the others, and gives the folder its name when it is whole."""
    draft = target.with_name(f"{target.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.rmtree(target, ignore_errors=True)
    draft.mkdir(parents=True)
    (state,) = checkpoint.glob("global_step*")
    for path in checkpoint.iterdir():
        if path.is_file() and path.name != "latest":
            _link(path, draft / path.name)
    workers = max(1, (os.cpu_count() or 1) // 2)
    options = Namespace(
        input_folder=str(state),
        output_folder=str(draft / state.name),
        num_extract_workers=workers,
        num_merge_workers=workers,
        keep_temp_folder=False,
        strict=True,
        inject_missing_state=True,
    )
    convert(options)
    draft.rename(target)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy(source, target)


if __name__ == "__main__":
    make_universal(Path(sys.argv[1]), Path(sys.argv[2]))
