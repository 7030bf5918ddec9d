"""A run's training data: which samples, in which order, stacked how."""

from dataclasses import dataclass

from PIL import Image
from transformers import LlavaProcessor

from libmoe.config.run import RunSpec
from libmoe.data.collator import Collator
from libmoe.data.conversation import ConversationEncoder
from libmoe.data.dataset import ConversationDataset
from libmoe.data.prompts import prompt_format
from libmoe.data.rows import Rows
from libmoe.data.sampler import BatchShape, EpochSampler, Groups

_BYTES_PER_TOKEN = 4


@dataclass(frozen=True)
class TrainingData:
    """What the Trainer is given."""

    dataset: ConversationDataset
    sampler: EpochSampler
    collator: Collator


def training_data(spec: RunSpec, processor: LlavaProcessor) -> TrainingData:
    """The data of the run's annotations.

    Raises:
        DataError: the index cannot be read.
        ConfigError: the tokenizer cannot be used for training.
    """
    settings, tokenizer = spec.config.data, processor.tokenizer
    rows = Rows(spec.annotations.index)
    image_tokens = tokens_of_an_image(processor)
    encoder = ConversationEncoder(
        tokenizer, prompt_format(settings.prompt_format, tokenizer), image_tokens, settings.max_length
    )
    shape = BatchShape(spec.config.train.micro_batch_size, spec.world.size, spec.accumulation_steps)
    groups = _groups(rows, image_tokens) if settings.group_by_modality_length else None
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    return TrainingData(
        ConversationDataset(rows, spec.data_dir, encoder, processor.image_processor),
        EpochSampler(len(rows), shape, spec.config.seed, groups),
        Collator(pad),
    )


def tokens_of_an_image(processor: LlavaProcessor) -> int:
    """How many placeholder tokens the processor puts where one image goes; the same for all images."""
    coded = processor(images=Image.new("RGB", (8, 8)), text=processor.image_token)
    return list(coded["input_ids"][0]).count(processor.image_token_id)


def _groups(rows: Rows, image_tokens: int) -> Groups:
    images = rows.image_counts()
    return Groups(images > 0, rows.text_lengths() // _BYTES_PER_TOKEN + images * image_tokens)
