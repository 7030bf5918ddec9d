"""The processor of an imported model: images as upstream saw them."""

from transformers import LlavaProcessor, PreTrainedTokenizerBase
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from libmoe.model.config import LibmoeConfig
from libmoe.model.interchange.towers import Tower
from libmoe.model.processor import IMAGE_TOKEN


def build_processor(
    config: LibmoeConfig, tower: Tower, tokenizer: PreTrainedTokenizerBase, pad: bool
) -> LlavaProcessor:
    """Pixels at the tower's own size, which the model enlarges to the larger scales, as upstream's does.

    Our own models get them at the largest scale, with the detail that enlarging cannot bring back.
    """
    vision = config.vision_config
    side = vision.image_size
    pixels = LlavaImageProcessorPil(
        size={"height": side, "width": side},
        do_center_crop=False,
        do_pad=pad,
        image_mean=list(tower.image_mean),
        image_std=list(tower.image_std),
    )
    return LlavaProcessor(
        image_processor=pixels,
        tokenizer=tokenizer,
        patch_size=vision.patch_size,
        vision_feature_select_strategy="full",
        chat_template=tokenizer.chat_template,
        image_token=IMAGE_TOKEN,
    )
