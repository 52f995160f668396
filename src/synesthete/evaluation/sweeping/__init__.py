"""Every combination of sampling settings, drawn and measured."""
