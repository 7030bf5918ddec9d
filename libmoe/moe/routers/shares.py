"""From scores to chosen experts and what each of them weighs."""

from torch import Tensor


def shares(log_score_TE: Tensor, top_k: int, rank_TE: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The ``top_k`` best experts of each token, and each one's score over the sum of the chosen.

    Best by ``rank_TE`` where that is given, else by score.

    Both are ``(T, K)``, the best first.
    Works on logarithms, in which no score is too small to divide by.

    With k = 1 the share is the constant 1, and the language loss would never reach the router. There the
    divisor counts as a constant in the backward pass: the output is still exactly one expert's, so that an
    upcycled layer starts as the dense one, and the router gets Switch's gradient, d log score
    (arXiv:2101.03961, eq. 2).
    """
    expert_TK = (log_score_TE if rank_TE is None else rank_TE).topk(top_k, dim=-1).indices
    chosen_TK = log_score_TE.gather(-1, expert_TK)
    if top_k == 1:
        return expert_TK, (chosen_TK - chosen_TK.detach()).exp()
    return expert_TK, chosen_TK.softmax(-1)
