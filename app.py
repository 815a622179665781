"""The dashboard: `streamlit run app.py`."""

from pathlib import Path

import streamlit as st

from core.ui.accounts import secrets
from core.ui.server import MIDDLEWARE, lifespan, on_script_error

app = st.App(
    Path(__file__).parent / "core" / "ui" / "router.py",
    secrets=secrets(),
    lifespan=lifespan,
    middleware=MIDDLEWARE,
    on_script_error=on_script_error,
)
