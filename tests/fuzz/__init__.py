"""Damaged files and odd options for every tool: `python -m tests.fuzz --count 300 --seed 0`, in a
checkout.
"""
