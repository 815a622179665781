"""A relaxation of many candidates as several jobs, which any runner can take; each goes on with what is missing."""

from __future__ import annotations

from dataclasses import replace

from core.jobs import queue
from core.jobs.tick import tick
from core.workflows.context import UserError
from core.workflows.relax import RelaxParams, check_config, shard_of

MAX_SHARDS = 500


def submit_relaxation(params: RelaxParams, device: str, shards: int = 1) -> list[int]:
    """Queue the relaxation, in as many jobs as asked for and there are candidates; their ids; all are queued or none.

    Raises UserError.
    """
    if not 1 <= shards <= MAX_SHARDS:
        raise UserError(f"A relaxation is split into 1 to {MAX_SHARDS} jobs, not {shards}.")
    check_config(params)
    ids = tuple(dict.fromkeys(params.candidate_ids))
    count = min(shards, len(ids))
    if count <= 1:
        params = replace(params, candidate_ids=ids)
        return [queue.submit("relax", _title(len(ids)), params, device)]
    asked = []
    for shard in range(count):
        part = replace(params, candidate_ids=shard_of(ids, shard, count), shard=shard, shards=count)
        title = f"{_title(len(part.candidate_ids))}, part {shard + 1} of {count}"
        asked.append((title, part))
    made = queue.add_all("relax", asked, device)
    tick()
    return made


def _title(count: int) -> str:
    return f"Relax {count:,} candidate{'' if count == 1 else 's'}"
