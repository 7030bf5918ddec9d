"""What a run is: every setting of a training stage, typed once.

The recipes, the presets, ``--config`` files, ``--set`` and the documentation all speak in these names.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from libmoe.config import algorithms
from libmoe.config.backbone import Backbone
from libmoe.config.layer_choice import LayerChoice

PositiveInt = Annotated[int, Field(gt=0, strict=True)]
Count = Annotated[int, Field(ge=0, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]
Fraction = Annotated[float, Field(ge=0, le=1, strict=True)]
NonNegative = Annotated[float, Field(ge=0, strict=True)]
Positive = Annotated[float, Field(gt=0, strict=True)]

Stage = Literal["pretrain", "pft", "sft"]
Part = Literal["vision", "connector", "language"]
Parts = Annotated[tuple[Part, ...], Field(min_length=1)]
Compat = Literal["published", "upstream"]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class BackboneConfig(_Settings):
    """A pretrained part of the model: where its weights are and the shape they have."""

    weights: str | None = Field(
        None, description="Folder `<org>/<name>` under `<data>/models`; unset: random initialisation."
    )
    licence: str | None = Field(None, description="Of the weights, as a saved model's card repeats it.")
    config: Backbone = Field(
        description="The transformers configuration: `model_type` and the sizes that the weights must have."
    )


class ModelConfig(_Settings):
    """Vision tower, connector and language model (LLaVA, arXiv:2304.08485)."""

    vision: BackboneConfig
    language: BackboneConfig
    tokenizer: str = Field(description="Folder `<org>/<name>` under `<data>/models` with the tokenizer.")
    scales: tuple[PositiveInt, ...] = Field(
        (1, 3),
        min_length=1,
        description="Multi-scale features (S2, arXiv:2403.13043): multiples of the tower's size.",
    )
    vision_feature_layer: int = Field(
        -2,
        strict=True,
        description="Which hidden state of the tower is read; layers after it are not computed.",
    )
    connector_activation: str = "gelu"
    image_mean: tuple[Fraction, Fraction, Fraction] = Field(
        (0.5, 0.5, 0.5), description="Colour (of 0 to 1) that the tower was trained to see as zero."
    )
    image_std: tuple[Positive, Positive, Positive] = Field(
        (0.5, 0.5, 0.5), description="What a colour's distance from the mean is divided by."
    )
    attention: Literal["sdpa", "flash_attention_2", "eager"] = Field(
        "sdpa",
        description="How tower and language model compute attention; flash_attention_2 needs its package, "
        "a GPU and bf16, and its backward pass does not repeat bit for bit.",
    )


class MoELayersConfig(_Settings):
    """Which layers of a part get experts, where ``moe.where`` names the part; layers count from 0."""

    vision: LayerChoice = Field(default="all", description='"all", [0, 2, 5], "4-11" or "every 2".')
    language: LayerChoice = Field(default="all", description='"all", [0, 2, 5], "4-11" or "every 2".')


class MoEConfig(_Settings):
    """Which dense MLPs become mixtures of experts, and how tokens are routed."""

    plugin: str | None = Field(
        default=None,
        description="Module (`package.module`, or the path of a .py file) that registers further algorithms.",
    )
    name: str = Field(default="none", description="The routing algorithm (docs/moe.md); none: a dense model.")
    compat: Compat = Field(
        default="published",
        description="published: the algorithm as its paper has it; upstream: as the released LibMoE "
        "checkpoints were trained.",
    )
    experts: PositiveInt = 6
    top_k: PositiveInt = 3
    where: Parts = ("vision", "connector")
    layers: MoELayersConfig = MoELayersConfig()
    balance_coefficient: NonNegative = Field(
        default=0.01, description="Weight of the balance loss; aux_free's own default is 0.0001."
    )
    z_coefficient: NonNegative = 0.001
    aux_schedule: Literal["constant", "warmup", "decay"] = Field(
        default="constant",
        description="Both coefficients over training: constant; rising from 0; or falling to 0 at the end.",
    )
    aux_schedule_share: Fraction = Field(
        default=0.1, description="Share of the steps over which they rise or fall, linearly."
    )
    tau: Fraction = Field(
        default=0.75, description="smoe_plus_plus: what a cheap expert counts in the balance loss."
    )
    cheap_warmup: Fraction = Field(
        default=0.1,
        description="smoe_plus_plus: share of the steps over which cheap experts, off at first, come in.",
    )
    bias_update_rate: NonNegative = Field(
        default=0.001, description="aux_free: how far an expert's bias moves in a step."
    )
    router_std: NonNegative = Field(
        default=0.02, description="Standard deviation of the router's initial weights."
    )
    seed: Seed | None = Field(
        default=None, description="Of what upcycling draws (routers, noise, redrawn units); unset: the run's."
    )
    expert_noise: NonNegative = Field(
        default=0.0,
        description="Noise that sets copied experts apart, as a share of each tensor's standard deviation; "
        "an upcycled model then no longer starts as the dense one.",
    )
    redrawn: Fraction = Field(
        default=0.0,
        description="Share of each expert's hidden units that are drawn anew (drop-upcycling, "
        "arXiv:2502.19261); an upcycled model then no longer starts as the dense one.",
    )

    @field_validator("name")
    @classmethod
    def _known(cls, name: str, info: ValidationInfo) -> str:
        advice = algorithms.advice(name) if info.data.get("plugin") is None else None
        if advice is not None:
            raise PydanticCustomError("unknown_algorithm", "{advice}", {"advice": advice})
        return name

    @model_validator(mode="before")
    @classmethod
    def _own_default(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("name") == "aux_free":
            return {"balance_coefficient": 1e-4, **values}
        return values

    @model_validator(mode="after")
    def _causal(self) -> "MoEConfig":
        if self.name == "expert_choice" and "language" in self.where:
            raise PydanticCustomError(
                "not_causal",
                "expert_choice looks at all tokens of a sequence, so that a language model would see its "
                "future: take language out of moe.where or choose another moe.name",
            )
        return self


class DataConfig(_Settings):
    """Which annotations are read and how a row becomes tokens and pixels."""

    annotations: str = Field(description="Name of an annotation artifact of the catalogue.")
    prompt_format: Literal["plain", "chat"] = Field(
        description="plain: image then caption (stage 1); chat: the language model's own chat template."
    )
    image_shape: Literal["square", "pad"] = Field(
        description="square: resize both sides; pad: first pad to a square with the mean colour."
    )
    max_length: PositiveInt = Field(2048, description="Tokens a sample is cut at, image tokens included.")
    group_by_modality_length: bool = Field(
        description="Batches hold rows of one kind (with or without image) and of similar length."
    )
    packing: bool = Field(
        True, description="The samples of a micro batch share one row without padding, none sees another."
    )
    unreadable: Literal["fail", "skip"] = Field(
        "skip",
        description="A row that cannot be read ends the run (fail), or its step goes without it (skip): "
        "named in skipped.jsonl, and no more than about one row in a hundred.",
    )
    workers: Count = Field(2, description="Loader processes of each rank.")


class ZeroConfig(_Settings):
    """DeepSpeed's partitioning of optimizer, gradients and parameters (ZeRO, arXiv:1910.02054)."""

    stage: Literal[0, 1, 2, 3]
    offload_optimizer: bool = False
    offload_parameters: bool = False

    @model_validator(mode="after")
    def _offloads_what_it_partitions(self) -> "ZeroConfig":
        for part, least in (("optimizer", 1), ("parameters", 3)):
            if getattr(self, f"offload_{part}") and self.stage < least:
                raise PydanticCustomError(
                    "offload",
                    "ZeRO {stage} does not partition {part}, so that it cannot offload them: set "
                    "train.zero.stage={least} or train.zero.offload_{part}=false",
                    {"stage": self.stage, "part": part, "least": least},
                )
        return self


class GuardConfig(_Settings):
    """When a loss says that training has gone wrong."""

    nan: Literal["stop", "skip"] = Field(
        default="stop",
        description="A loss that is not a number ends the run (stop), or its step changes nothing (skip), "
        "ten in a row at most; skip needs bf16 and ZeRO 1 to 3, which check gradients before they use them.",
    )
    explosion: NonNegative = Field(
        default=3.0,
        description="Stop when the mean loss of ten steps exceeds this many times that of the first ten; "
        "0: never.",
    )
    frozen_steps: Count = Field(
        default=10,
        description="Stop when the loss is exactly 0 or the same, or the gradient exactly 0, for this many "
        "steps; 0: never.",
    )


class TrainConfig(_Settings):
    """How the weights change: optimizer, schedule, batch, precision, checkpoints."""

    trainable: Parts
    learning_rate: Positive
    weight_decay: NonNegative = 0.0
    warmup_ratio: Fraction = 0.03
    scheduler: Literal["cosine", "linear", "constant"] = "cosine"
    max_grad_norm: NonNegative = 1.0
    epochs: PositiveInt = 1
    max_steps: PositiveInt | None = Field(None, description="Stop after this many optimizer steps.")
    global_batch_size: PositiveInt = Field(description="Samples an optimizer step, over all ranks.")
    micro_batch_size: PositiveInt = Field(description="Samples a rank computes at a time.")
    precision: Literal["bf16", "fp32"] = "bf16"
    activation_checkpointing: bool = True
    save_steps: PositiveInt = 500
    save_total_limit: PositiveInt = 1
    hang_minutes: NonNegative = Field(
        default=20.0,
        description="End the run when no rank has made progress for this many minutes, saving and loading "
        "included; 0: never.",
    )
    guard: GuardConfig = GuardConfig()
    router_statistics_steps: Count = Field(
        default=50,
        description="Record router statistics every this many steps, from the first on; 0: never.",
    )
    deterministic: bool = Field(
        default=True,
        description="The same run gives the same numbers bit for bit; false lets every operation take its "
        "fastest form, so that a repeated run agrees to some digits.",
    )
    wandb: str | None = Field(
        default=None,
        description="Project of Weights & Biases that is told of every step; unset: WANDB_PROJECT, if any.",
    )
    zero: ZeroConfig

    @field_validator("wandb")
    @classmethod
    def _named(cls, project: str | None) -> str | None:
        return project or None


class RunConfig(_Settings):
    """One stage of one model, completely resolved."""

    stage: Stage
    preset: str
    seed: Seed = 42
    model: ModelConfig
    moe: MoEConfig = MoEConfig()
    data: DataConfig
    train: TrainConfig
