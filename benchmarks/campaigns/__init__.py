"""Campaigns: inputs that are damaged, kills at any moment, and attempts at harm; docs/concepts/promises.md."""
