"""Synesthete: one diffusion toolkit in which pictures speak, sounds paint and spectrograms play."""

from importlib.metadata import version

__version__ = version("synesthete")
