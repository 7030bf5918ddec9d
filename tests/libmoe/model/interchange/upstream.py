"""Upstream's model, restated from a reading of its code (Fsoft-AIC/LibMoE, moe_model/model/).

Modules have upstream's names and compute what upstream's compute; losses and logs are left out.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlamaForCausalLM, Phi3ForCausalLM, SiglipVisionConfig
from transformers.activations import ACT2FN


class SMoE(nn.Module):
    """moe/moe.py and moe/smoe.py."""

    def __init__(self, width_in: int, width_out: int, experts: int, top_k: int, expert: Any) -> None:
        super().__init__()
        self.width_out, self.count, self.top_k = width_out, experts, top_k
        self.experts = nn.ModuleList([expert() for _ in range(experts)])
        self.gate = nn.Linear(width_in, self.columns, bias=False)

    @property
    def columns(self) -> int:
        return self.count

    def score(self, logits: Tensor) -> Tensor:
        return logits.softmax(-1)

    def route(self, x: Tensor) -> tuple[Tensor, Tensor]:
        weights, chosen = self.score(self.gate(x)).topk(self.top_k)
        return weights / weights.sum(-1, keepdim=True), chosen

    def mix(self, x: Tensor, weights: Tensor, chosen: Tensor) -> Tensor:
        results = x.new_zeros(*x.shape[:2], self.width_out)
        for index, expert in enumerate(self.experts):
            b, t, k = torch.where(chosen == index)
            results[b, t] += weights[b, t, k].unsqueeze(-1) * expert(x[b, t])
        return results

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(x, *self.route(x))


class Sigmoid(SMoE):
    """moe/smoe_sigmoidgating.py."""

    def score(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()


class Share(SMoE):
    """moe/shard_smoe.py: the last expert is shared."""

    def __init__(self, width_in: int, width_out: int, experts: int, top_k: int, expert: Any) -> None:
        super().__init__(width_in, width_out, experts, top_k - 1, expert)

    @property
    def columns(self) -> int:
        return self.count - 1

    def forward(self, x: Tensor) -> Tensor:
        return self.experts[self.count - 1](x) * 0.5 + super().forward(x) * 0.5


class ShareV3(Share):
    """moe/shard_smoe_v3.py."""

    def score(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()


class XMoE(SMoE):
    """moe/xmoe.py: ``gate`` is there and is not used."""

    def __init__(self, width_in: int, width_out: int, experts: int, top_k: int, expert: Any) -> None:
        super().__init__(width_in, width_out, experts, top_k, expert)
        self.expert_embeddings = nn.Parameter(torch.randn(experts, experts // 2))
        self.inp_reduction = nn.Linear(width_in, experts // 2, bias=False)

    def route(self, x: Tensor) -> tuple[Tensor, Tensor]:
        embeddings = self.expert_embeddings * 1.5 / self.expert_embeddings.norm(dim=-1, keepdim=True)
        cosine = F.normalize(self.inp_reduction(x), dim=-1, eps=1e-4) @ embeddings.T
        weights, chosen = (cosine / 0.3).softmax(-1).topk(self.top_k)
        return weights.softmax(-1), chosen


class TCMoE(SMoE):
    """moe/moe_tcmoe.py: experts, their negatives and null slots; of two writes to one place one counts."""

    @property
    def columns(self) -> int:
        return 2 * self.count + self.top_k

    def route(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.gate(x)
        logits[..., self.count : 2 * self.count] -= 1.0
        logits[..., 2 * self.count :] -= 10.0
        p = logits.softmax(-1)
        weights, chosen = p.topk(self.top_k)
        taken = (weights * (chosen < 2 * self.count)).sum(-1, keepdim=True)
        total = taken + p[..., 2 * self.count :].sum(-1, keepdim=True)
        return weights / total, chosen

    def mix(self, x: Tensor, weights: Tensor, chosen: Tensor) -> Tensor:
        sign = torch.ones_like(weights)
        sign[chosen >= self.count] = -1.0
        sign[chosen >= 2 * self.count] = 0.0
        return super().mix(x, weights * sign, chosen % self.count)


class Zero(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


class Constant(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.constant = nn.Parameter(torch.randn(width))
        self.wg = nn.Linear(width, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        a = self.wg(x).softmax(-1)
        return a[:, :1] * x + a[:, 1:] * self.constant


class PlusPlus(SMoE):
    """moe/moe_plus_plus.py with the experts that training adds; ``gate_transform`` is not used."""

    def __init__(self, width_in: int, width_out: int, experts: int, top_k: int, expert: Any) -> None:
        self.same = width_in == width_out
        super().__init__(width_in, width_out, experts, top_k, expert)
        if self.same:
            self.gate_transform = nn.Linear(self.columns, self.columns, bias=False)
            self.experts.extend([Zero(), Constant(width_out)])

    @property
    def columns(self) -> int:
        return self.count + 2 if self.same else self.count


ALGORITHMS: dict[str, type[SMoE]] = {
    "smoe": SMoE,
    "smoe_sigmoidgating": Sigmoid,
    "smoe_share": Share,
    "smoe_sharev3": ShareV3,
    "xmoe": XMoE,
    "smoe_tcmoe": TCMoE,
    "smoe_plus_plus": PlusPlus,
}


class MLP(nn.Module):
    def __init__(self, config: SiglipVisionConfig) -> None:
        super().__init__()
        self.activation_fn = ACT2FN[config.hidden_act]
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.activation_fn(self.fc1(x)))


class Attention(nn.Module):
    def __init__(self, config: SiglipVisionConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        width = config.hidden_size
        self.k_proj, self.v_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.q_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        def split(y: Tensor) -> Tensor:
            return y.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        q, k, v = split(self.q_proj(x)), split(self.k_proj(x)), split(self.v_proj(x))
        weights = (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5).softmax(-1)
        return self.out_proj((weights @ v).transpose(1, 2).flatten(2))


class EncoderLayer(nn.Module):
    def __init__(self, config: SiglipVisionConfig, moe: tuple[str, int, int] | None) -> None:
        super().__init__()
        width = config.hidden_size
        self.self_attn = Attention(config)
        self.layer_norm1 = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.layer_norm2 = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.mixed = moe is not None
        if moe is None:
            self.mlp = MLP(config)
        else:
            name, experts, top_k = moe
            self.moelayer = ALGORITHMS[name](width, width, experts, top_k, lambda: MLP(config))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        normed = self.layer_norm2(x)
        return x + (self.moelayer(normed) if self.mixed else self.mlp(normed))


class Embeddings(nn.Module):
    def __init__(self, config: SiglipVisionConfig) -> None:
        super().__init__()
        size = config.patch_size
        self.patch_embedding = nn.Conv2d(3, config.hidden_size, kernel_size=size, stride=size)
        self.position_embedding = nn.Embedding((config.image_size // size) ** 2, config.hidden_size)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.patch_embedding(pixels).flatten(2).transpose(1, 2) + self.position_embedding.weight


class Encoder(nn.Module):
    def __init__(self, config: SiglipVisionConfig, moe: tuple[str, int, int] | None) -> None:
        super().__init__()
        self.layers = nn.ModuleList([EncoderLayer(config, moe) for _ in range(config.num_hidden_layers)])

    def forward(self, x: Tensor) -> Tensor:
        """The input of the last layer, which upstream computes and throws away."""
        for layer in self.layers[:-1]:
            x = layer(x)
        return x


class VisionTransformer(nn.Module):
    def __init__(self, config: SiglipVisionConfig, moe: tuple[str, int, int] | None) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config, moe)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.encoder(self.embeddings(pixels))


class VisionTower(nn.Module):
    """multimodal_encoder/siglip_encoder.py."""

    def __init__(
        self, config: SiglipVisionConfig, scales: list[int], moe: tuple[str, int, int] | None
    ) -> None:
        super().__init__()
        self.scales = scales
        self.vision_model = VisionTransformer(config, moe)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, 3, S, S)`` at the tower's own size to ``(B, N, D * scales)``."""
        side = images.shape[-1]
        features = [self.vision_model(images)]
        grid = int(features[0].shape[1] ** 0.5)
        for scale in self.scales[1:]:
            large = F.interpolate(images, size=side * scale, mode="bicubic")
            rows = []
            for i in range(scale):
                tiles = [large[:, :, i * side :, j * side :][:, :, :side, :side] for j in range(scale)]
                maps = [self.vision_model(tile).transpose(1, 2).unflatten(2, (grid, grid)) for tile in tiles]
                rows.append(torch.cat(maps, dim=-1))
            small = F.interpolate(torch.cat(rows, dim=-2), size=grid, mode="area")
            features.append(small.flatten(2).transpose(1, 2))
        return torch.cat(features, dim=-1)


class MLPMoE(nn.Module):
    """multimodal_projector/builder.py."""

    def __init__(self, width_in: int, width_out: int, moe: tuple[str, int, int]) -> None:
        super().__init__()
        name, experts, top_k = moe
        self.moelayer = ALGORITHMS[name](
            width_in, width_out, experts, top_k, lambda: projector(width_in, width_out)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.moelayer(x)


def projector(width_in: int, width_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width_in, width_out), nn.GELU(), nn.Linear(width_out, width_out))


class Llava:
    """llava_arch.py."""

    def attach(
        self: Any, vision: SiglipVisionConfig, scales: list[int], moe: tuple[str, int, int] | None
    ) -> None:
        text = self.config
        width = vision.hidden_size * len(scales)
        self.model.vision_tower = VisionTower(vision, scales, moe)
        mixed = moe is not None
        self.model.mm_projector = (
            MLPMoE(width, text.hidden_size, moe) if mixed else projector(width, text.hidden_size)
        )

    def logits(self: Any, before: Tensor, images: Tensor, after: Tensor) -> Tensor:
        """Of text, one image and text: ``(1, T)`` ids around ``(1, 3, S, S)`` pixels."""
        features = self.model.mm_projector(self.model.vision_tower(images))
        embed = self.get_input_embeddings()
        return self(inputs_embeds=torch.cat([embed(before), features, embed(after)], dim=1)).logits


class LlavaPhi(Llava, Phi3ForCausalLM):
    """language_model/llava_phi.py."""


class LlavaSmollm(Llava, LlamaForCausalLM):
    """language_model/llava_smollm.py."""
