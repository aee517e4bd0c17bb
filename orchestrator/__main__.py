"""`python -m orchestrator` is `stagefarm`."""

from orchestrator.cli import main

if __name__ == "__main__":
    main()
