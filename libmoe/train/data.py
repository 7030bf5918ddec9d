"""A run's training data: which samples, in which order, stacked how."""

from dataclasses import dataclass

import numpy as np
import torch.distributed as dist
from transformers import LlavaProcessor

from libmoe.config.errors import DataError
from libmoe.config.run import RunSpec
from libmoe.config.usable import known_unusable, usable
from libmoe.data.collator import Collator
from libmoe.data.conversation import ConversationEncoder
from libmoe.data.dataset import ConversationDataset, Skipped
from libmoe.data.layout import packed, padded
from libmoe.data.order import Groups
from libmoe.data.pixels import Pixels
from libmoe.data.prompts import prompt_format
from libmoe.data.rows import Rows
from libmoe.data.sampler import BatchShape, EpochSampler
from libmoe.model.processor import tokens_of_an_image
from libmoe.train.ranks import gather_objects
from libmoe.train.skipped import left_out_before

_BYTES_PER_TOKEN = 4


@dataclass(frozen=True)
class TrainingData:
    """What the Trainer is given, and the rows that it is not."""

    dataset: ConversationDataset
    sampler: EpochSampler
    collator: Collator
    pixels: Pixels
    """Makes colours of a batch's bytes."""
    left_out: tuple[Skipped, ...]


def training_data(spec: RunSpec, processor: LlavaProcessor) -> TrainingData:
    """The data of the run's annotations.

    Raises:
        DataError: the index cannot be read, or no row of it can be used.
        ConfigError: the tokenizer cannot be used for training.
    """
    settings, tokenizer = spec.config.data, processor.tokenizer
    rows = Rows(spec.annotations.index)
    left_out = _left_out(spec, len(rows))
    numbers = usable(len(rows), left_out)
    if not len(numbers):
        raise DataError(f"No row of {spec.annotations.name} can be used: run `libmoe prepare` again.")
    image_tokens = tokens_of_an_image(processor)
    encoder = ConversationEncoder(
        tokenizer, prompt_format(settings.prompt_format, tokenizer), image_tokens, settings.max_length
    )
    pixels = Pixels.of(processor.image_processor)
    shape = BatchShape(spec.config.train.micro_batch_size, spec.world.size, spec.accumulation_steps)
    has_image, length = (column[numbers] for column in _sizes(rows, image_tokens))
    groups = Groups(has_image, length) if settings.group_by_modality_length else None
    cost = length if settings.packing else None
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    return TrainingData(
        ConversationDataset(rows, spec.data_dir, encoder, pixels, unreadable=settings.unreadable),
        EpochSampler(numbers, shape, spec.config.seed, groups, cost),
        Collator(packed if settings.packing else padded(pad), stand_in=pad),
        pixels,
        tuple(Skipped(rows[number].id, number, "unusable, says prepare's audit") for number in left_out),
    )


def _sizes(rows: Rows, image_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether each row has an image, and about how many tokens."""
    images = rows.image_counts()
    return images > 0, rows.text_lengths() // _BYTES_PER_TOKEN + images * image_tokens


def _left_out(spec: RunSpec, rows: int) -> list[int]:
    """What the first rank finds, as nodes' volumes may differ; in a resumed run, what it found at first."""
    before = left_out_before(spec.resume_from) if spec.resume_from else None
    found = known_unusable(spec.annotations.index, rows) if before is None else before
    everyone: list[list[int]] = gather_objects(found) if dist.is_initialized() else [found]
    return everyone[0]
