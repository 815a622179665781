"""Crystals by substitution: known structures with their elements exchanged, the likeliest first."""
