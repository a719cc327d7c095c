"""Every tool killed at moments of all kinds, and run again: `python -m tests.kills --count 100
--seed 0`.
"""
