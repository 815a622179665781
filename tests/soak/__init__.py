"""The tests of faults at full length: `python -m tests.soak.NAME`. Each stops by itself."""
