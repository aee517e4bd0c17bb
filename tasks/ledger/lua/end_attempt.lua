-- The host gives up its attempt. `how` is `lost` (counts towards the limit) or `handed back`.
-- Gives what became of the build (queued, failed, cancelled or stale) and its attempt.
-- ARGV: id, attempt, host, incarnation, how, reason, most attempts, whether the next attempt begins at the
--       beginning, whatever checkpoints there are (0 or 1)
local id, attempt, host, incarnation, how, reason, attempts_max, anew = unpack(ARGV)
if not held(id, attempt, host, incarnation) then
  return {'stale', attempt}
end
if anew == '1' then
  set(id, 'checkpoint', '')
end
return end_attempt(id, how, reason, attempts_max)
