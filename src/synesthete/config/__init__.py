"""Recipes as data: constructor calls not yet made, checked when written, to YAML and back, every field overridable."""

from synesthete.config.build import Build, build
from synesthete.config.plain import PACKAGE, find_class, plain
from synesthete.config.recipe import Recipe, Sampling, Stage, read_assignment

__all__ = ["PACKAGE", "Build", "Recipe", "Sampling", "Stage", "build", "find_class", "plain", "read_assignment"]
