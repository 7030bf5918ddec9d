"""How many images a core brings from disk to the model's pixels, and what of that decoding alone takes."""

import time
from collections.abc import Callable, Sequence

import torch
from PIL import Image

from libmoe.config.run import RunSpec
from libmoe.data.image import load_image
from libmoe.data.rows import Rows
from libmoe.model.processor import build_processor
from libmoe.train.data import training_data


def loader_rows(spec: RunSpec, seconds: float) -> list[list[str]]:
    """A line of the table each: decoding; pixels; samples; samples in batches."""
    torch.set_num_threads(1)
    data = training_data(spec, build_processor(spec.config, spec.models_dir))
    index = Rows(spec.annotations.index)
    numbers = [number for number in range(len(index)) if index[number].images]
    micro = spec.config.train.micro_batch_size

    def decode(number: int) -> None:
        for name in index[number].images:
            with Image.open(spec.data_dir / name) as image:
                image.load()

    def pixels(number: int) -> None:
        for name in index[number].images:
            data.pixels.to_bytes(load_image(spec.data_dir / name, ""))

    def collate(number: int) -> None:
        data.collator([data.dataset[number]] * micro) if number % micro == 0 else data.dataset[number]

    measured = {
        "decoding alone": _rate(decode, numbers, seconds),
        "pixels of a row": _rate(pixels, numbers, seconds),
        "... and tokens": _rate(data.dataset.__getitem__, numbers, seconds),
        "... and put into batches": _rate(collate, numbers, seconds),
    }
    limit = measured["decoding alone"]
    return [[name, f"{rate:,.0f}", f"{rate / limit:.0%}"] for name, rate in measured.items()]


def _rate(work: Callable[[int], object], numbers: Sequence[int], seconds: float) -> float:
    """Images a second; the first round is warm-up."""
    for number in numbers[:8]:
        work(number)
    done, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        work(numbers[done % len(numbers)])
        done += 1
    return done / (time.process_time() - start)
