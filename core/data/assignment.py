"""The cheapest pairing of two like sets, in numpy alone."""

from __future__ import annotations

import numpy as np


def assign(cost: np.ndarray) -> np.ndarray:
    """(n, n) costs -> (n,) the column of each row in the cheapest pairing.

    Shortest augmenting paths (Jonker & Volgenant 1987; Crouse 2016) after every row has taken its cheapest column that
    is free.
    """
    n = len(cost)
    u, v = cost.min(1), np.zeros(n)
    column_of, row_of = np.full(n, -1), np.full(n, -1)
    for row, column in enumerate(cost.argmin(1).tolist()):
        if row_of[column] < 0:
            column_of[row], row_of[column] = column, row
    for row in np.flatnonzero(column_of < 0).tolist():
        _augment(cost, u, v, column_of, row_of, row)
    return column_of


def _augment(
    cost: np.ndarray, u: np.ndarray, v: np.ndarray, column_of: np.ndarray, row_of: np.ndarray, start: int
) -> None:
    """Bring one row more into the pairing by the shortest path of exchanges."""
    n = len(cost)
    best, before = np.full(n, np.inf), np.full(n, -1)
    done = np.zeros(n, dtype=bool)
    rows, row, length = [start], start, 0.0
    while True:
        reach = cost[row] - (u[row] + v) + length
        closer = (reach < best) & ~done
        best[closer], before[closer] = reach[closer], row
        column = int(np.where(done, np.inf, best).argmin())
        length = float(best[column])
        done[column] = True
        row = int(row_of[column])
        if row < 0:
            break
        rows.append(row)
    u[start] += length
    for other in rows[1:]:
        u[other] += length - best[column_of[other]]
    v[done] -= length - best[done]
    while True:
        row = int(before[column])
        row_of[column] = row
        column, column_of[row] = int(column_of[row]), column
        if row == start:
            return
