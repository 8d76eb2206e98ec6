"""Metrics, one module for each kind of prediction, and the table of them.

metrics/base.py says what a metric is; metrics/table.py lists them.
"""
