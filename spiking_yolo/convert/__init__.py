"""Conversion from activations to spikes: statistics, thresholds, calibrations and the table of
methods.

The documentation's generator finds no functions in a folder without this file.
"""
