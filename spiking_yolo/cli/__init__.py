"""The command line: one module per verb, which parses, calls a study, prints and saves. Imports
nothing heavy.

Only this package knows cyclopts; program.py makes a command line from a dataclass of options.
"""
