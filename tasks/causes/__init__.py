"""Causes: what a failed build's log says about why it failed, found by rules."""
