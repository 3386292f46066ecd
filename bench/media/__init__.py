"""Measures the media pipeline as ratios on one machine: `python -m bench.media`."""
