-- The host gives up its attempt. `how` is `lost` (counts towards the limit) or `handed back`.
-- Returns the outcome (queued, blocked, failed, cancelled or stale) and the build's attempt.
-- ARGV: id, attempt, host, incarnation, how, reason, most attempts, whether the next attempt ignores
--       the checkpoint (0 or 1)
local id, attempt, host, incarnation, how, reason, attempts_max, from_start = unpack(ARGV)
if not held(id, attempt, host, incarnation) then
  local ended = closed_attempt_of(id, attempt, host, incarnation)
  return became(attempt, ended, how, reason)
end
if from_start == '1' then
  set(id, 'checkpoint', '')
end
return end_attempt(id, how, reason, attempts_max)
