"""`python -m snapstore.cli` is the command `snapstore`."""

from __future__ import annotations

from snapstore.cli.main import main

if __name__ == "__main__":
    main()
