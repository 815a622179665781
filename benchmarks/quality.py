"""The table of quality: how many known structures each method finds, by the project's own `evaluate`.

    python -m benchmarks.quality --store DIR [--part choosing|last] [--rows mp perov-5 …]
        [--methods network held substitution ranked refine best paper start …] [--limit 300] [--decorated DIR]
        [--out TABLE.md]

Rows and aims are those of benchmarks/quality_rows.py. A method is one of the names above or a pattern such as
"substitution:{data}" or "refine:{network}:{data}", filled in row by row. With "@" behind it the potential chooses one
of several samples, where the row gives an energy that it can be asked for ("ranked" is "substitution:{data}@"); with
"+" a network holds the space group that is asked for, on the sites that structures of the dataset take ("held"). Every
cell that is finished is kept in DIR/quality.jsonl, and an unfinished one goes on where it stopped: a method or a row
can be added at any time. A cell is measured again when its model or its dataset is another, or with `--again`.
`--limit` takes so many structures of each row, drawn by the seed (half as many pairs for modification); 0 takes all.
The datasets are imported into the store where they are missing, from SUBHULL_SHARED and, for decorated prototypes,
from the folder that benchmarks/decorated_set.py wrote.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

from benchmarks.quality_rows import LINES, MEASURED, METRICS, SMOKE, Line, Measured, prepare
from core.workflows.context import UserError

METHODS = {
    "network": "{network}",
    "held": "{network}+",
    "substitution": "substitution:{data}",
    "ranked": "substitution:{data}@",
    "refine": "refine:{network}:{data}",
    "best": "best:{network}:{data}+@",
    "paper": "{paper}",
    "start": "start",
}
HELD, RANKED = "+", "@"
PARTS = {"choosing": "even", "last": "odd"}
Cells = dict[tuple[str, str], dict[str, Any]]  # by row and method as asked for: what `evaluate` returned, or "problem"


@dataclass(frozen=True)
class Asked:
    """rows: names in `MEASURED`; methods: names or patterns; limit: structures of a row, 0 for all."""

    store: Path
    part: str
    rows: tuple[str, ...]
    methods: tuple[str, ...]
    limit: int = 300
    seed: int = 0
    device: str = "cpu"
    decorated: Path | None = None
    again: bool = False


class Printed:
    """A context outside any job: progress on the screen, no more than a line in ten seconds."""

    job_id = 0

    def __init__(self, folder: Path, device: str, label: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.device, self._label, self._last = folder, device, label, time.monotonic()

    def progress(self, fraction: float | None, message: str, eta_s: float | None = None) -> None:
        if time.monotonic() - self._last > 10:
            self._last = time.monotonic()
            print(f"{self._label}: {message}, {eta_s or 0:.0f} s to go", flush=True)

    def metrics(self, step: int, **values: float) -> None:
        pass

    def cancelled(self) -> bool:
        return False


def measure(asked: Asked) -> Cells:
    """Every cell that is asked for, from the file of results where it is there."""
    file = asked.store / "quality.jsonl"
    known = {} if asked.again else read_results(file)
    cells: Cells = {}
    for row in asked.rows:
        prepare(MEASURED[row].dataset, asked.decorated, Printed(asked.store / "quality", asked.device, row))
        for method in asked.methods:
            if method == "start" and MEASURED[row].task != "modification":
                continue
            name = filled(method, MEASURED[row])
            try:
                key = key_of(asked, row, name)
                if key not in known:
                    known[key] = _evaluated(asked, row, name, key)
                    append_result(file, key, known[key])
                cells[row, method] = known[key]
            except UserError as error:
                cells[row, method] = {"problem": str(error)}
                print(f"{row}, {name}: {error}", flush=True)
    return cells


def filled(method: str, row: Measured) -> str:
    """The method's name for a row. Raises UserError for a placeholder that is none."""
    try:
        name = METHODS.get(method, method).format(network=row.network, paper=row.paper, data=row.dataset)
    except (KeyError, IndexError, ValueError) as error:
        raise UserError(f"{method!r} is no method: write {{network}}, {{paper}} or {{data}} for the row's.") from error
    plain, suffix = split(name)
    holds = row.task == "generation" and "space-group" in row.conditions
    return plain + HELD * (HELD in suffix and holds) + RANKED * (RANKED in suffix and row.ranked > 0)


def split(name: str) -> tuple[str, str]:
    """A method's name and the signs behind it."""
    plain = name.rstrip(RANKED + HELD)
    return plain, name[len(plain) :]


def key_of(asked: Asked, row: str, name: str) -> str:
    """What a cell's numbers depend on, as text. Raises UserError where a model or a dataset is missing."""
    from core.workflows.datasets import get_dataset
    from core.workflows.models import load_model

    if not name:
        raise UserError("There is no model for this row.")
    plain, _ = split(name)
    hashes = [get_dataset(MEASURED[row].dataset).hash]
    parts = plain.split(":")[1:]
    if not parts and plain != "start":
        hashes.append(load_model(plain).row.hash)
    if parts:
        hashes.append(get_dataset(parts[-1]).hash)
        hashes += [load_model(model).row.hash for model in parts[:-1]]
    return json.dumps([row, name, asked.part, asked.limit, asked.seed, *[h[:12] for h in hashes]])


def _evaluated(asked: Asked, row: str, name: str, key: str) -> dict[str, Any]:
    from core.workflows.evaluate import EvaluateParams, evaluate, usual_steps

    what = MEASURED[row]
    limit = asked.limit // 2 if what.task == "modification" else asked.limit
    plain, suffix = split(name)
    held, ranked = HELD in suffix, RANKED in suffix
    params = EvaluateParams(
        plain, (), what.dataset, "val", what.conditions, what.ranked if ranked else what.samples, what.matcher, limit,
        usual_steps(plain), asked.seed, what.task, what.also, what.atoms, PARTS[asked.part], held,
        what.dataset if held else "", "potential" if ranked else "", what.rank_steps if ranked else 0,
    )  # fmt: skip
    folder = asked.store / "quality" / hashlib.sha256(key.encode()).hexdigest()[:12]  # of the verdicts so far
    if asked.again:
        rmtree(folder, ignore_errors=True)
    started = time.monotonic()
    result = evaluate(params, Printed(folder, asked.device, f"{row}, {name}"))
    took = time.monotonic() - started
    print(f"{row}, {name}: {100 * result['match_rate']:.1f} % of {result['targets']:,} in {took:.0f} s", flush=True)
    return result | {"seconds": round(took, 1), "date": time.strftime("%Y-%m-%d"), "machine": machine(asked.device)}


def read_results(file: Path) -> dict[str, dict[str, Any]]:
    """The finished cells of a file by their keys; a line that is cut off is left out."""
    found: dict[str, dict[str, Any]] = {}
    for line in file.read_text().splitlines() if file.is_file() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        found[row["key"]] = row["result"]
    return found


def append_result(file: Path, key: str, result: dict[str, Any]) -> None:
    """Keep a finished cell."""
    with file.open("a") as out:
        out.write(json.dumps({"key": key, "result": result}) + "\n")


def machine(device: str) -> str:
    """The machine in words: its cores and what draws."""
    if device != "cpu":
        import torch

        return str(torch.cuda.get_device_name(device))
    return f"{len(os.sched_getaffinity(0))} cores of {platform.machine()}"


def markdown(cells: Cells, methods: Sequence[str], part: str) -> str:
    """The table, a line for each number that has an aim, and below it where the numbers come from."""
    lines = [line for line in LINES if any((line.of, m) in cells for m in methods)]
    heading = ["benchmark", "given", "aim", "structures", *methods]
    table = ["| " + " | ".join(heading) + " |", "|---" * len(heading) + "|"]
    table += ["| " + " | ".join(_columns(line, cells, methods)) + " |" for line in lines]
    done = [c for c in cells.values() if "problem" not in c]
    dates, machines = sorted({c["date"] for c in done}), sorted({c["machine"] for c in done})
    number = {"choosing": "choosing part (held-out formulas of even number)", "last": "last part (of odd number)"}
    note = (
        f"The {number[part]}; {' and '.join(dates)}; {'; '.join(machines)}. In brackets 95 % intervals "
        "(Wilson). **Bold** meets its aim, a *miss* does not; – was not measured."
    )
    problems = sorted({f"{m}: {c['problem']}" for (_, m), c in cells.items() if "problem" in c})
    return "\n".join([*table, "", note, *(f"- {p}" for p in problems)]) + "\n"


def _columns(line: Line, cells: Cells, methods: Sequence[str]) -> list[str]:
    found = [cells.get((line.of, m), {"problem": ""}) for m in methods]
    counts = {_count(line, c) for c in found if "problem" not in c}
    aim = "" if line.aim is None else (f"under {line.aim:g}" if line.metric == "RMS" else f"above {100 * line.aim:g} %")
    return [line.title, line.given, aim, ", ".join(f"{n:,}" for n in sorted(counts)), *(entry(line, c) for c in found)]


def _count(line: Line, report: dict[str, Any]) -> int:
    asked = {"group": "in_group", "group P1": "in_group_p1"}.get(line.metric)
    if asked is not None:
        return int((report[asked] or {"asked": 0})["asked"])
    return int(report["matched"] if line.metric == "RMS" else report["targets"])


def entry(line: Line, report: dict[str, Any]) -> str:
    """ "**81.3 %** (76.5–85.3)", "53.0 % (47.3–58.6) *miss*" or "–"."""
    value: Callable[[dict[str, Any]], Any] = METRICS[line.metric]
    found = None if "problem" in report else value(report)
    if found is None:
        return "–"
    share, interval = found
    small = line.metric == "RMS"
    text = f"{share:.4f}" if small else f"{100 * share:.1f} %"
    between = "" if interval is None else f" ({100 * interval[0]:.1f}–{100 * interval[1]:.1f})"
    if line.aim is None:
        return text + between
    return f"**{text}**{between}" if (share < line.aim if small else share > line.aim) else f"{text}{between} *miss*"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--part", choices=list(PARTS), default="choosing")
    parser.add_argument("--rows", nargs="+", choices=list(MEASURED), default=[r for r in MEASURED if r not in SMOKE])
    parser.add_argument("--methods", nargs="+", default=["network", "held", "substitution", "refine", "best", "paper"])
    parser.add_argument("--limit", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--decorated", type=Path, help="the folder that benchmarks/decorated_set.py wrote")
    parser.add_argument("--again", action="store_true", help="measure cells that are there, too")
    parser.add_argument("--out", type=Path, help="write the table here, too")
    given = parser.parse_args()
    os.environ["SUBHULL_VAR"] = str(given.store.resolve())
    given.store.mkdir(parents=True, exist_ok=True)
    from core.workflows import starter

    starter.install()
    asked = Asked(
        given.store.resolve(), given.part, tuple(given.rows), tuple(given.methods), given.limit, given.seed,
        given.device, given.decorated, given.again,
    )  # fmt: skip
    table = markdown(measure(asked), asked.methods, asked.part)
    print("\n" + table)
    if given.out:
        given.out.write_text(table)


if __name__ == "__main__":
    main()
