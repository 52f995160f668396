"""Recipes as data: constructor calls not yet made, checked when written, to YAML and back, every field overridable."""

from synesthete.config.build import Build, build, is_a, plain
from synesthete.config.document import class_name, find_class, first_difference, register_class
from synesthete.config.recipe import Fraction, Recipe, Sampling, Stage, read_assignment

__all__ = [
    "Build",
    "Fraction",
    "Recipe",
    "Sampling",
    "Stage",
    "build",
    "class_name",
    "find_class",
    "first_difference",
    "is_a",
    "plain",
    "read_assignment",
    "register_class",
]
