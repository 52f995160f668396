"""The command line with the short looks of the tests, for launchers to start."""

from __future__ import annotations

from synesthete.cli.app import main
from tiny import shorten_looks

if __name__ == "__main__":
    shorten_looks()
    main()
