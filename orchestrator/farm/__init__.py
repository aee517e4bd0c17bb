"""The farm as people use it: submit, retry, rebuild, fetch, supervise."""
