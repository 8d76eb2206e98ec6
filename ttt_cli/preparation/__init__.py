"""Preparation of published models on pictures without labels: `tttv weights prepare`."""
