"""One module a command; `orchestrator.cli` imports each only when it is called."""
