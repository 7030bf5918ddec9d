"""What a stage will take: the keys that scripts rely on, what a person reads, and what cannot fit."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from entrypoint.launch.estimate.fit import CONTEXT_BYTES, check_memory_fits, with_changes
from entrypoint.launch.estimate.forecast import Forecast
from entrypoint.launch.nodes.settings import Place
from entrypoint.launch.summary import planned, table
from entrypoint.sample.album import HERE
from libmoe.config.errors import ConfigError
from libmoe.config.gpus import Gpu, gpu_model
from libmoe.config.layers import Layer, assignment_layer, resolve
from libmoe.config.run import Annotations, World
from tests.entrypoint.launch.conftest import WriteIndex
from tests.specs import run_spec

IMAGE_TOKENS = 256
H100 = gpu_model("h100")
Make = Callable[..., Forecast]


@pytest.fixture
def forecast(write_index: WriteIndex) -> Make:
    """A stage of the guide's model on four GPUs, on 320 rows, an image each."""

    def make(
        stage: str,
        *settings: str,
        rows: list[tuple[int, int]] | None = None,
        gpu: Gpu | None = H100,
        preset: str = "phi35-siglip224",
        ranks: int = 4,
    ) -> Forecast:
        index = write_index(rows or [(1, 100)] * 320)
        layers = [Layer("test", {}), *map(assignment_layer, settings)]
        resolved = resolve(stage, preset, layers)
        spec = run_spec(
            resolved.config,
            index.parents[2],
            index.parents[2] / "run",
            provenance=resolved.provenance,
            annotations=Annotations(name="a", index=index, sha256="0" * 64, rows=320),
            world=World(device="cuda", processes=ranks),
        )
        return Forecast(spec, gpu)

    return make


def test_the_plan_says_what_a_stage_takes(forecast: Make) -> None:
    plan: dict[str, Any] = planned(forecast("sft"), Place())
    parameters, memory, flops = (plan[key] for key in ("parameters", "memory_bytes", "flops"))
    parts = ("vision", "connector", "language", "embeddings", "experts", "routers")
    assert list(parameters) == ["total", "active", *parts]
    assert parameters["total"] == sum(parameters[part] for part in parts)
    assert 4.7e9 < parameters["active"] < 4.9e9 < 5.5e9 < parameters["total"]
    kinds = ("parameters", "gradients", "optimizer", "activations", "buffers")
    assert list(memory) == ["device", *kinds, "host"]
    assert memory["device"] + memory["host"] == sum(memory[kind] for kind in kinds)
    assert flops["training_run"] == 10 * flops["training_step"] == 320 * flops["training_row"]
    assert flops["model_run"] < flops["training_run"]  # nothing is computed again
    assert plan["uncounted"] is None
    assert (plan["steps"], plan["images"], plan["tokens"]) == (10, 320, 320 * (IMAGE_TOKENS + 126))
    seconds = flops["model_run"] / (4 * H100.bf16_flops * plan["assumed_mfu"])
    assert plan["hours"] == pytest.approx(seconds / 3600)
    assert json.loads(json.dumps(plan)) == plan


def test_a_person_reads_a_row_a_figure(forecast: Make) -> None:
    _, columns, rows = table([planned(forecast(stage), Place()) for stage in ("pretrain", "sft")])
    read = {name: cells for name, *cells in rows}
    assert list(columns) == ["", "pretrain", "sft"]
    assert read["parameters: total"] == ["4.23 G", "5.61 G"]
    assert read["memory: optimizer"][1].endswith("GiB")
    assert read["flops: training row"][0].endswith("T")
    assert read["gpu memory"] == ["79.6 GiB", "79.6 GiB"]
    assert "uncounted" not in read


def test_an_unknown_model_is_planned_all_the_same(forecast: Make) -> None:
    unknown = forecast("sft", "model.language.config.model_type=mamba")
    plan = planned(unknown, Place())
    assert plan["steps"] == 10
    assert {plan[key] for key in ("parameters", "flops", "memory_bytes", "tokens", "hours")} == {None}
    check_memory_fits(unknown)
    _, _, rows = table([planned(forecast("pft"), Place()), plan])
    read = {name: cells for name, *cells in rows}
    assert "'mamba' are not known" in read["uncounted"][1]
    assert read["parameters: total"] == ["4.23 G", "unknown"]


def test_rows_that_the_audit_leaves_out_are_no_steps(forecast: Make) -> None:
    made = forecast("sft", rows=[(1, 100)] * 65)
    assert replace(made).steps == 3
    audit = made.spec.annotations.index.parents[1] / "audit/a.json"
    audit.parent.mkdir()
    audit.write_text(json.dumps({"rows": 65, "unusable_rows": [3]}))
    again = replace(made)
    assert again.steps == 2
    assert planned(again, Place())["rows_left_out"] == 1


def test_rows_are_cut_at_the_limit(forecast: Make) -> None:
    made = forecast("sft", "data.max_length=600", rows=[(3, 10), (1, 5000), (0, 40)] * 20)
    assert made.tokens is not None
    assert made.data.lengths(IMAGE_TOKENS).tolist()[:2] == [600, 600]
    assert made.data.kept_images(IMAGE_TOKENS).tolist()[:3] == [2, 1, 0]


def test_tokens_are_learnt_from_the_tokenizer(forecast: Make) -> None:
    made = forecast("sft", preset="tiny", rows=[(0, 1000)] * 4, ranks=1)
    assert made.data.text_tokens[0] == 5004 * 0.25
    shipped = made.spec.models_dir / "libmoe/tiny/tokenizer.json"
    shipped.parent.mkdir(parents=True)
    shipped.write_bytes((HERE / "tokenizer/tokenizer.json").read_bytes())
    assert replace(made).data.text_tokens[0] == pytest.approx(2010, abs=10)  # "word" is two tokens here


def test_an_mfu_needs_bf16_and_a_known_gpu(forecast: Make) -> None:
    assert forecast("sft", "train.precision=fp32").hours is None
    assert forecast("sft", gpu=None).hours is None
    assert forecast("sft", gpu=Gpu("new", 2**40, None)).hours is None


def test_longer_rows_take_more_memory(forecast: Make) -> None:
    rows = [(1, 100)] * 320
    short, long = forecast("sft", rows=rows).memory(), forecast("sft", rows=[*rows[1:], (1, 1500)]).memory()
    assert short is not None
    assert long is not None
    assert long.activations > short.activations


def test_the_guides_recipes_fit_their_gpus(forecast: Make) -> None:
    for stage in ("pretrain", "pft", "sft"):
        check_memory_fits(forecast(stage, gpu=gpu_model("a100")))


@pytest.mark.parametrize(("gpu", "ranks"), [("a100", 1), ("h200", 1), ("l4", 8), ("a100-40gb", 4)])
def test_what_is_advised_does_fit(forecast: Make, gpu: str, ranks: int) -> None:
    made = forecast("sft", gpu=gpu_model(gpu), ranks=ranks)
    memory = made.memory()
    assert memory is not None
    assert made.gpu is not None
    if memory.device + CONTEXT_BYTES <= made.gpu.memory_bytes:
        check_memory_fits(made)
        return
    with pytest.raises(ConfigError, match=rf"{gpu} has .*--set train\.\S+=.*--force") as refused:
        check_memory_fits(made)
    first = str(refused.value).split(": ", 2)[2].split(" or ")[0].split(" (")[0]
    change = {}
    for words in first.split("--set train.")[1:]:
        key, _, value = words.strip().partition("=")
        change[key] = json.loads(value)
    run = with_changes(made.spec.config, change)
    check_memory_fits(replace(made, spec=made.spec.model_copy(update={"config": run})))


def test_a_model_too_large_for_any_setting_says_so(forecast: Make) -> None:
    with pytest.raises(ConfigError, match="take more GPUs, larger ones, or a smaller model"):
        check_memory_fits(forecast("sft", gpu=Gpu("small", 2**30, None)))
