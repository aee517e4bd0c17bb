"""The worker: consumes the messages of a host, runs their steps, and keeps their leases."""
