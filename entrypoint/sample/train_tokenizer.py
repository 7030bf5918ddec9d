"""``python -m entrypoint.sample.train_tokenizer``: the tiny preset's tokenizer, from the sample's sentences.

Byte-level BPE with Phi-3's special tokens, small enough that a tiny model can learn each of its tokens.
"""

from entrypoint.sample.album import ALBUM, HERE

TOKENIZER_JSON = HERE / "tokenizer" / "tokenizer.json"
VOCAB_SIZE = 1024
# Phi-3's, in its order, and LLaVA's placeholder for an image. Their ids are 0, 1, 2...
SPECIAL_TOKENS = ["<|endoftext|>", "<s>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>", "<image>"]


def train() -> str:
    """The text of tokenizer.json: the same for the same sentences."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(ALBUM.sentences(), trainer)
    return tokenizer.to_str(pretty=True) + "\n"


if __name__ == "__main__":
    TOKENIZER_JSON.write_text(train(), encoding="utf-8")
