"""Attention in Context: a course whose checks name the mistake."""

__version__ = "0.1.0"
