"""What of a data set is unusual or goes unmeasured, in sentences for the log.

Nothing is changed here: the rules are stated in `docs/recommenders.md`, and these are the counts of
what they apply to, so that a list of figures over fewer users than expected is no riddle.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from models.recommender.interactions import Interactions


def oddities(
    data: Interactions,
    train: np.ndarray,
    known: np.ndarray,
    test: np.ndarray,
    asked: int,
    excluded: np.ndarray | None = None,
) -> Iterator[str]:
    """One sentence for each rule of odd data that applies.

    Args:
        train, known, test: [N] bool; known is training and validation.
        asked: how many test interactions are questions of the evaluation.
        excluded: [U] bool, users left out of metrics, who have been reported.
    """
    same_time = (np.diff(data.user) == 0) & (np.diff(data.timestamp) == 0)
    if ties := int(same_time.sum()):
        yield f"{ties} interactions have the time of their user's one before: input order is kept"
    if repeats := _repeats(data, same_time):
        yield f"{repeats} interactions repeat another's user, item and time; each counts"
    n_known = np.bincount(data.user[train], minlength=data.n_users)
    n_all = np.bincount(data.user, minlength=data.n_users)
    if only := int((n_known == n_all).sum()):
        yield f"{only} users have nothing held out (too few interactions, mostly): they train only"
    new = np.setdiff1d(data.item[test], data.item[known])
    if len(new):
        some = ", ".join(data.item_ids.gather(new[:3] - 1))
        yield (
            f"{len(new)} items occur in the test alone (such as {some}): models that know items by "
            "id cannot hit them, and it counts against them"
        )
    held = test if excluded is None else test & ~excluded[data.user]
    if unasked := int(held.sum()) - asked:
        yield (
            f"{unasked} of {int(held.sum())} test interactions are not asked for: their users "
            "touched the item before, or nothing at all"
        )


def _repeats(data: Interactions, same_time: np.ndarray) -> int:
    """Interactions whose user, item and time an earlier row has; only equal times need a look."""
    rows = np.flatnonzero(np.append(same_time, False) | np.append(False, same_time))
    triples = np.stack([data.user[rows], data.timestamp[rows], data.item[rows]])
    return len(rows) - np.unique(triples, axis=1).shape[1] if len(rows) else 0
