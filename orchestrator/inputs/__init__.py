"""What batches are built from: git repositories, fetched, pinned and written to a folder."""
