"""The package's version, apart from the package so that building it needs no torch."""

__version__ = "0.1.0"
