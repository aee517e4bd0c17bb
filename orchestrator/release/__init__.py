"""Publishing: from the store to a mirror, as whole generations that readers can verify."""
