"""`python -m synesthete`, the same as `synesthete`."""

from synesthete.cli.app import main

if __name__ == "__main__":
    main()
