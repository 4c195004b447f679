"""What is remembered of each source: its last events, as arrays whose first axis is the source.

The rule for what comes twice, late, or out of order. Events of one batch are taken in the order of
their timestamps, whatever order they came in. Then, for each event, against its source's newest:

| timestamp | | |
| --- | --- | --- |
| newer | `FRESH` | scored with the events before it, remembered, learnt from |
| one of the last `remembered`, or its messageId is | `DUPLICATE` | counted and dropped |
| older by at most `late_s`, and within the last `remembered` | `LATE` | scored by itself, never \
learnt from |
| older | `TOO_LATE` | refused |
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

FRESH, LATE, DUPLICATE, TOO_LATE = 0, 1, 2, 3
NEVER = np.iinfo(np.int64).min
NO_ID = np.uint64(0)

Arrays = dict[str, NDArray[np.generic]]


class Sources:
    """All sources of one processor.

    Args:
        fields: of the model.
        window: events that the model looks at, T.
        remembered: timestamps and ids of each source.
        late_s: how far behind its source's newest an event may be.
    """

    def __init__(self, fields: Sequence[str], window: int, remembered: int, late_s: float) -> None:
        self.fields = tuple(fields)
        self.window = window
        self.remembered = remembered
        self._late_us = round(late_s * 1e6)
        self.names: list[str] = []
        self.row: dict[str, int] = {}
        self.partition: NDArray[np.int32] = np.empty(0, np.int32)
        self.seen: NDArray[np.int64] = np.empty(0, np.int64)  # events, late ones included
        # The last T − 1 events, the newest last; NaN before the first.
        self.history: NDArray[np.float32] = np.empty((0, window - 1, len(fields)), np.float32)
        self.times: NDArray[np.int64] = np.empty((0, remembered), np.int64)  # rising
        self.ids: NDArray[np.uint64] = np.empty((0, remembered), np.uint64)

    def __len__(self) -> int:
        return len(self.names)

    def rows(self, names: Sequence[str], partition: NDArray[np.integer]) -> NDArray[np.int64]:
        """[N]: the number of each event's source; sources never seen before are added."""
        known = self.row
        new: dict[str, int] = {}
        for n, name in enumerate(names):
            if name not in known and name not in new:
                new[name] = int(partition[n])
        if new:
            self._add(list(new), np.array(list(new.values()), np.int32))
        return np.fromiter(map(self.row.__getitem__, names), np.int64, len(names))

    def _add(self, names: list[str], partition: NDArray[np.int32]) -> None:
        count, width = len(names), len(self.fields)
        for name in names:
            self.row[name] = len(self.names)
            self.names.append(name)
        self.partition = np.r_[self.partition, partition].astype(np.int32)
        self.seen = np.r_[self.seen, np.zeros(count, np.int64)]
        empty = np.full((count, self.window - 1, width), np.nan, np.float32)
        self.history = np.concatenate([self.history, empty])
        self.times = np.concatenate([self.times, np.full((count, self.remembered), NEVER)])
        self.ids = np.concatenate([self.ids, np.full((count, self.remembered), NO_ID)])

    def admit(
        self, row: NDArray[np.int64], time_us: NDArray[np.int64], identity: NDArray[np.uint64]
    ) -> NDArray[np.int8]:
        """[N]: `FRESH`, `LATE`, `DUPLICATE` or `TOO_LATE`; see the module. Changes nothing.

        Args:
            row, time_us, identity: [N], sorted by row and time.
        """
        kind = np.zeros(len(row), np.int8)
        if not len(row):
            return kind
        newest = self.times[row, -1]
        named = identity != NO_ID
        behind = np.flatnonzero(time_us <= newest)
        if len(behind):
            known = self.times[row[behind]]
            again = (known == time_us[behind, None]).any(axis=1)
            # `known[:, 0]` is NEVER until so many have come: then all of them are remembered.
            in_time = (newest[behind] - time_us[behind] <= self._late_us) & (
                known[:, 0] < time_us[behind]
            )
            kind[behind] = np.select([again, in_time], [DUPLICATE, LATE], TOO_LATE)
        if named.any():
            at = np.flatnonzero(named)
            kind[at[(self.ids[row[at]] == identity[at, None]).any(axis=1)]] = DUPLICATE
            order = at[np.lexsort((at, identity[at], row[at]))]
            same = (row[order[1:]] == row[order[:-1]]) & (
                identity[order[1:]] == identity[order[:-1]]
            )
            kind[order[1:][same]] = DUPLICATE
        twice = (row[1:] == row[:-1]) & (time_us[1:] == time_us[:-1])
        kind[1:][twice & (kind[1:] != TOO_LATE)] = DUPLICATE
        return kind

    def windows(self, row: NDArray[np.int64], values: NDArray[np.float32]) -> NDArray[np.float32]:
        """[N, T, F]: each event with those before it, from the batch and from before.

        Args:
            row: [N], sorted; values: [N, F].
        """
        if self.window == 1:
            return values[:, None, :]
        joined, first, _ = _joined(self.history, row, values)
        found: NDArray[np.float32] = joined[first[:, None] + np.arange(self.window)]
        return found

    def alone(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """[N, T, F]: events without any before them."""
        found = np.full((len(values), self.window, values.shape[1]), np.nan, np.float32)
        found[:, -1] = values
        return found

    def remember(
        self,
        row: NDArray[np.int64],
        time_us: NDArray[np.int64],
        identity: NDArray[np.uint64],
        values: NDArray[np.float32],
        kind: NDArray[np.int8],
    ) -> None:
        """Take fresh and late events in; sorted by row and time."""
        np.add.at(self.seen, row, 1)
        fresh = kind == FRESH
        at = row[fresh]
        if len(at):
            if self.window > 1:
                self.history = _pushed(self.history, at, values[fresh])
            self.times = _pushed(self.times, at, time_us[fresh])
            self.ids = _pushed(self.ids, at, identity[fresh])
        for n in np.flatnonzero(kind == LATE):
            source = row[n]
            place = int(np.searchsorted(self.times[source], time_us[n]))
            if not place:  # pushed out by newer ones of the same batch
                continue
            for memory, value in ((self.times, time_us[n]), (self.ids, identity[n])):
                memory[source, : place - 1] = memory[source, 1:place]
                memory[source, place - 1] = value

    def of(self, partition: int) -> NDArray[np.int64]:
        """The rows of a partition's sources."""
        return np.flatnonzero(self.partition == partition)

    def state(self, rows: NDArray[np.int64]) -> Arrays:
        """A copy of what is remembered of some sources."""
        return {
            "names": np.array([self.names[r] for r in rows], dtype=np.str_),
            "fields": np.array(self.fields, dtype=np.str_),
            "seen": self.seen[rows],
            "history": self.history[rows],
            "times": self.times[rows],
            "ids": self.ids[rows],
        }

    def restore(self, state: Arrays, partition: int) -> NDArray[np.int64]:
        """Take sources in; returns their rows.

        A state of another model is fitted to this one's: fields by their names, the newest events
        of a longer window, nothing before those of a shorter one.
        """
        names = [str(n) for n in state["names"]]
        first = len(self)
        self._add(names, np.full(len(names), partition, np.int32))
        rows = np.arange(first, len(self))
        self.seen[rows] = state["seen"]
        _fit_last(self.times, rows, state["times"])
        _fit_last(self.ids, rows, state["ids"])
        place = {str(f): n for n, f in enumerate(state["fields"])}
        shared = [(n, place[f]) for n, f in enumerate(self.fields) if f in place]
        if shared:
            history = np.full((len(rows), *state["history"].shape[1:2], len(self.fields)), np.nan)
            history[:, :, [n for n, _ in shared]] = state["history"][:, :, [n for _, n in shared]]
            _fit_last(self.history, rows, history)
        return rows

    def keep(self, rows: NDArray[np.int64]) -> None:
        """Forget all other sources; those that stay are numbered anew, in this order."""
        self.names = [self.names[r] for r in rows]
        self.row = {name: n for n, name in enumerate(self.names)}
        for name in ("partition", "seen", "history", "times", "ids"):
            setattr(self, name, getattr(self, name)[rows])


def identities(ids: Sequence[str | None]) -> NDArray[np.uint64]:
    """[N]: 64 bits of each messageId; `NO_ID` where there is none."""
    return np.fromiter(
        (
            NO_ID if i is None else int.from_bytes(blake2b(i.encode(), digest_size=8).digest())
            for i in ids
        ),
        np.uint64,
        len(ids),
    )


def _joined(
    memory: NDArray[Any], row: NDArray[np.int64], values: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
    """Each source's memory with its new values behind it, one source after another.

    Args:
        memory: [S, H, …]; row: [N], sorted; values: [N, …].

    Returns:
        joined: [K × H + N, …] for the K sources that have new values.
        first: [N], where the H + 1 places begin that end in each new value.
        last: [K], where each source's newest H places begin.
    """
    held = memory.shape[1]
    begins = np.flatnonzero(np.r_[True, row[1:] != row[:-1]])
    counts = np.diff(np.r_[begins, len(row)])
    group = np.repeat(np.arange(len(begins)), counts)
    first = group * held + np.arange(len(row))
    joined = np.empty((len(begins) * held + len(row), *memory.shape[2:]), memory.dtype)
    joined[first + held] = values
    old = np.arange(len(begins)) * held + begins
    joined[old[:, None] + np.arange(held)] = memory[row[begins]]
    return joined, first, old + counts


def _pushed(memory: NDArray[Any], row: NDArray[np.int64], values: NDArray[Any]) -> NDArray[Any]:
    """The memory after these values have come: the oldest leave."""
    joined, _, last = _joined(memory, row, values)
    held = memory.shape[1]
    memory[row[np.r_[True, row[1:] != row[:-1]]]] = joined[last[:, None] + np.arange(held)]
    return memory


def _fit_last(target: NDArray[Any], rows: NDArray[np.int64], given: NDArray[Any]) -> None:
    """As many of the newest places as both have."""
    held = min(target.shape[1], given.shape[1])
    if held:
        target[rows, -held:] = given[:, -held:]
