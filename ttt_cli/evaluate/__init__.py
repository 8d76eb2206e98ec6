"""Evaluation of methods, windows and seeds on labeled videos, with scores, tables and a resumable journal.

An interrupted evaluation keeps its finished passes and continues from them.
"""
