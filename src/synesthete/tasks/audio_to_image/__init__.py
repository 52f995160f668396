"""Sounds paint: pictures of what is heard, and of a text beside it."""
