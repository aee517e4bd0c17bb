"""Who may have what built, and who built it: keys, signatures, and the trust of this machine."""
