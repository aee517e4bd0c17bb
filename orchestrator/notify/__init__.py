"""What people are told: incidents, which messages follow from them, and their delivery."""
