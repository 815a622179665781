"""Colours that all charts share; they hold on light and dark ground and for colour-blind eyes."""

ACCENT = "#2f6f8f"
MUTED = "#9aa3a8"
WARM = "#c8793a"
