-- Add a new build, queued as attempt 1. Returns ok, or exists if another build has its id.
-- ARGV: what `add` takes
return add(unpack(ARGV))
