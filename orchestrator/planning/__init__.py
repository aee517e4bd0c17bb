"""Planning: from specfiles and batches to builds."""
