"""The mixture-of-experts layer: route, dispatch, compute, combine."""

from collections.abc import Callable, Iterator

from torch import Tensor, nn

from libmoe.config.schema import MoEConfig
from libmoe.moe.autocast import without_autocast
from libmoe.moe.dispatch import Segments
from libmoe.moe.experts import experts_like
from libmoe.moe.losses import ride, z_loss
from libmoe.moe.routers import Routing, make_router


class MoEMLP(nn.Module):
    """Takes the place of a dense MLP: ``(..., S, D)`` to ``(..., S, D')``, S the tokens of one sequence.

    ``balance_loss`` and ``z_loss`` hold the last training forward's values, detached and without coefficient;
    None where that forward computed none (coefficient 0, no token, or nothing to train). ``listeners`` are
    told of every routing, also of a checkpointed forward's second one.
    """

    balance_loss: Tensor | None
    z_loss: Tensor | None
    listeners: list[Callable[[Routing], None]]

    def __init__(self, dense: nn.Module, settings: MoEConfig) -> None:
        """Experts of the shape of ``dense``; its values are not copied (see ``libmoe.moe.upcycle``).

        Raises:
            ConfigError: the dense module is no MLP that can be upcycled, or the settings do not fit together.
        """
        super().__init__()
        self.experts = experts_like(dense, settings.experts)
        self.router = make_router(self.experts.in_features, settings, self.experts.out_features)
        self.balance_coefficient = settings.balance_coefficient
        self.z_coefficient = settings.z_coefficient
        self.balance_loss = None
        self.z_loss = None
        self.listeners = []

    def forward(self, x: Tensor) -> Tensor:
        x_TD = x.reshape(-1, x.shape[-1])
        sequence = x.shape[-2]
        with without_autocast(x.device):
            routing = self.router.route(x_TD, sequence)
        for hear in self.listeners:
            hear(routing)
        segments = Segments.of(routing.expert_TK, self.router.experts, routing.dropped_TK, routing.rows)
        y_AD = self.experts(segments.dispatch(x_TD), segments.end_E)
        y_TD = segments.combine(y_AD, routing.weight_TK)
        with without_autocast(x.device):
            beside_TD = self.router.beside(x_TD, routing)
        if beside_TD is not None:
            y_TD = y_TD + beside_TD.to(y_TD.dtype)
        y_TD = self._with_losses(y_TD, routing, sequence)
        return y_TD.view(*x.shape[:-1], y_TD.shape[-1])

    def _with_losses(self, y_TD: Tensor, routing: Routing, sequence: int) -> Tensor:
        balance = z = None
        if routing.logits_TE.requires_grad and len(y_TD):
            if self.balance_coefficient:
                balance = self.router.balance(routing, sequence)
                y_TD = ride(y_TD, self.balance_coefficient * balance)
            if self.z_coefficient:
                z = z_loss(routing.logits_TE)
                y_TD = ride(y_TD, self.z_coefficient * z)
            if routing.own_loss is not None:
                y_TD = ride(y_TD, routing.own_loss, scheduled=False)
        # Only now: what is computed again under activation checkpointing may end anywhere above.
        self.balance_loss = None if balance is None else balance.detach()
        self.z_loss = None if z is None else z.detach()
        return y_TD


def moe_layers(model: nn.Module) -> Iterator[tuple[str, MoEMLP]]:
    """Every mixture-of-experts layer in ``model`` with its dotted path, in order of construction."""
    return ((path, module) for path, module in model.named_modules() if isinstance(module, MoEMLP))


def after_step(model: nn.Module, progress: float) -> None:
    """Tells every router that an optimizer step is done; ``progress`` is the share of training behind it.

    Every rank calls it after every step, for some algorithms add up over ranks what they counted.
    """
    for _, layer in moe_layers(model):
        layer.router.after_step(progress)
