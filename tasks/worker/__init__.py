"""The worker: takes the messages of a host, runs their steps, and answers for what it holds."""
