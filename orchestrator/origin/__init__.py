"""Where a stage comes from: the evidence of its ancestors, gathered, verified, and shown."""
