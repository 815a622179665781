"""What stands behind the question mark of a URL: every page with every key that a page reads."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from core.settings import ROOT

PAGES = ("home", "datasets", "train", "models", "generate", "modify", "candidates", "hulls", "jobs")
_KEYS = re.compile(
    r"(?:selected|selected_int|_text|_range)\(\"([a-z_]+)\"|query(?:_params)?(?:\.get\(|\[)\"([a-z_]+)\""
)
_ODD = (
    *("", "0", "1", "2", "-1", "x", "²", "٣", "1e999", "nan", "nan:nan", "-1:1", "5:-5", "0:1e400", "<script>", "%00"),
    *("9" * 11, "9" * 30, "0000" + "9" * 5000, "starter", "starter-generator", "substitution:starter", "B-Ta-W", "191"),
    *("TaB2", "(((", "valid.new", "overview", "structures", "recipe", "aflow", "prototypes", "1,2,3", ",,,", "M3GNet"),
    *("best:a:b", "substitution:", "refine:starter-generator:starter", "\u202e", "a" * 3000, "../../x", "1.5", "Ta"),
)


@cache
def keys() -> tuple[str, ...]:
    """The keys that any page reads, out of their source."""
    text = "".join(p.read_text() for folder in ("core/ui", "pages") for p in sorted((ROOT / folder).glob("*.py")))
    return tuple(sorted({a or b for a, b in _KEYS.findall(text)}))


@st.composite
def queries(draw: st.DrawFn) -> tuple[str, bytes]:
    value = st.one_of(st.sampled_from(_ODD), st.text(max_size=8))
    query = draw(st.dictionaries(st.sampled_from(keys()), value, min_size=1, max_size=4))
    return draw(st.sampled_from(PAGES)), json.dumps(query).encode()


def read_query(_: Path, case: tuple[str, bytes]) -> bool:
    """The page opens; what it says of a fault of the app counts as one."""
    from streamlit.testing.v1 import AppTest

    app = AppTest.from_file(str(ROOT / "core" / "ui" / "router.py"), default_timeout=60)
    for key, value in json.loads(case[1]).items():
        app.query_params[key] = value
    app.switch_page(f"../../pages/{case[0]}.py")
    app.run()
    assert not app.exception, [str(e.value)[:200] + str(e.stack_trace)[-600:] for e in app.exception]
    return not app.error


def _parser() -> Any:
    from tests.faults.parsers import Parser

    return Parser(queries(), read_query, 0.25, True, True, ("pickle.find_class",))


QUERIES = _parser()
