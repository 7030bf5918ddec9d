"""The one-kernel linear map against the loop over segments, on the CPU, where it runs too if it is forced."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.nn import functional as F

from libmoe.moe import MoEMLP, grouped_linear
from libmoe.moe.grouped_linear import segment_linear
from libmoe.moe.grouped_mm import fits_kernel, kernel_linear
from libmoe.moe.segment_ops import segment_gradients

MakeLayer = Callable[..., MoEMLP]
END_E = torch.tensor([5, 5, 12, 18], dtype=torch.int32)  # the second of four experts has no row
ROWS, USED, IN, OUT = 21, 18, 16, 24


def inputs(dtype: torch.dtype, bias: bool = True) -> tuple[Tensor, Tensor, Tensor | None]:
    torch.manual_seed(0)
    shapes = [(ROWS, IN), (4, OUT, IN), (4, OUT)]
    x, weight, offset = (torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes)
    return x, weight, offset if bias else None


@pytest.fixture
def garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel as bad as it may be: NaN past the last segment and in products of no row."""
    kernel = F.grouped_mm

    def bad(left: Tensor, right: Tensor, *, offs: Tensor) -> Tensor:
        assert left.data_ptr() % 16 == right.data_ptr() % 16 == 0
        product = kernel(left, right, offs=offs)
        if product.ndim == 2:
            product[offs[-1] :] = float("nan")
        else:
            product[offs.diff(prepend=offs.new_zeros(1)) == 0] = float("nan")
        return product

    monkeypatch.setattr(F, "grouped_mm", bad)


def gradients(linear: Callable[..., Tensor], dtype: torch.dtype, bias: bool) -> list[Tensor]:
    """The output, then gradients, of the rows that count."""
    x, weight, offset = inputs(dtype, bias)
    wanted = [x, weight, *([offset] if offset is not None else [])]
    y = linear(x, weight, offset, END_E)[:USED]
    slope = torch.linspace(-1, 1, y.numel(), dtype=dtype).view_as(y)
    grad_x, *others = torch.autograd.grad(y, wanted, slope)
    return [y, grad_x[:USED], *others]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.usefixtures("garbage")
def test_computes_what_the_loop_does(dtype: torch.dtype, bias: bool) -> None:
    ours, theirs = gradients(kernel_linear, dtype, bias), gradients(segment_linear, dtype, bias)
    tolerance = 1e-5 if dtype == torch.float32 else 0.02
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=2 * tolerance)
    assert not ours[2][1].any()


@pytest.mark.usefixtures("garbage")
def test_an_expanded_gradient_and_weights_off_the_alignment() -> None:
    x, _, bias = inputs(torch.bfloat16)
    gathered = torch.randn(4 * OUT * IN + 1, dtype=torch.bfloat16)
    weight = gathered[1:].view(4, OUT, IN).requires_grad_()
    assert weight.data_ptr() % 16
    kernel_linear(x, weight, bias, END_E)[:USED].sum().backward()
    ones = torch.autograd.grad(
        segment_linear(x, weight, bias, END_E)[:USED], weight, torch.ones(USED, OUT).bfloat16()
    )
    torch.testing.assert_close(weight.grad, ones[0], rtol=0.02, atol=0.04)


def test_nothing_waits_for_the_device() -> None:
    """The meta device has no values, so whatever asks for one fails."""
    x, weight, bias = (one.detach().to("meta").requires_grad_() for one in inputs(torch.bfloat16))
    kernel_linear(x, weight, bias, END_E.to("meta")).sum().backward()
    assert weight.grad.shape == weight.shape


def test_it_compiles_to_one_graph() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(kernel_linear, backend="aot_eager", fullgraph=True, dynamic=False)
    results = [gradients(linear, torch.bfloat16, bias=True) for linear in (compiled, kernel_linear)]
    torch.testing.assert_close(*results, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["smoe", "smoe_tcmoe", "expert_choice"])
@pytest.mark.usefixtures("garbage")
def test_the_layer_is_the_same_with_either(
    make_layer: MakeLayer, x: Tensor, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of dropped slots, in which the kernel leaves NaN, reach nobody."""
    results = []
    for kernel in (False, True):
        monkeypatch.setattr(grouped_linear, "fits_kernel", lambda *_, kernel=kernel: kernel)
        layer = make_layer(name=name).float()
        with torch.no_grad():
            layer.router.weight[8:9] = (
                50 * x[0, 0] / x[0, 0].norm() ** 2
            )  # smoe_tcmoe: a token takes a null slot
        tokens = x.float().requires_grad_()
        y = layer(tokens)
        y.square().sum().backward()
        results.append([y, tokens.grad, *(parameter.grad for parameter in layer.parameters())])
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("rows", "width", "dtype", "generation", "fits"),
    [
        (3, 16, torch.bfloat16, 8, True),
        (3, 16, torch.bfloat16, 7, False),
        (3, 16, torch.float32, 8, False),
        (3, 12, torch.bfloat16, 8, False),
        (0, 16, torch.bfloat16, 8, False),
    ],
)
def test_the_kernel_is_for_what_it_can_and_does_well(
    rows: int, width: int, dtype: torch.dtype, generation: int, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Aligned rows in bf16 on a GPU from Ampere on."""
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(major=generation))
    shapes = [(rows, width), (4, 24, width)]
    x, weight = (torch.empty(shape, dtype=dtype, device="meta") for shape in shapes)
    gpu, mode = torch.device("cuda", 0), FakeTensorMode()
    assert fits_kernel(FakeTensor(mode, x, gpu), FakeTensor(mode, weight, gpu)) is fits
    assert not fits_kernel(x, weight)


@pytest.mark.parametrize("linear", [segment_linear, kernel_linear])
@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_what_is_frozen_costs_no_product(
    monkeypatch: pytest.MonkeyPatch, linear: Callable[..., Tensor], frozen: int
) -> None:
    given = inputs(torch.float32)
    slope = torch.linspace(-1, 1, USED * OUT).view(USED, OUT)
    expected = list(torch.autograd.grad(linear(*given, END_E)[:USED], given, slope))
    given[frozen].requires_grad_(False)
    learnt = [one for one in given if one.requires_grad]
    y = linear(*given, END_E)[:USED]
    products, kernel = [], F.grouped_mm
    monkeypatch.setattr(F, "grouped_mm", lambda *a, **k: products.append(1) or kernel(*a, **k))
    got = torch.autograd.grad(y, learnt, slope)
    del expected[frozen]
    if frozen:  # rows past the last segment hold anything
        got, expected = (got[0][:USED], *got[1:]), [expected[0][:USED], *expected[1:]]
    torch.testing.assert_close(list(got), expected)
    assert len(products) == (2 if linear is kernel_linear else 0)


def test_the_loop_makes_only_what_is_wanted() -> None:
    x, weight, bias = inputs(torch.float32)
    grad = torch.ones(ROWS, OUT)
    sizes = [
        [one.numel() for one in segment_gradients(grad, x, weight, END_E, wanted)]
        for wanted in ([True, False, False], [False, True, False], [False, False, True])
    ]
    assert sizes == [[x.numel(), 0, 0], [0, weight.numel(), 0], [0, 0, bias.numel()]]
