"""Finished models as ONNX files, checked against torch: what runs without this package."""

from synesthete.export.model import PARTS, Written, export_model

__all__ = ["PARTS", "Written", "export_model"]
