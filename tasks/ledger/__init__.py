"""The ledger: the record in Redis of every build and host."""
