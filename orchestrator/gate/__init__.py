"""Whether a stage may be published: checks, findings, waivers, holds."""
