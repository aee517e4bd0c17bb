-- The lease of an attempt has expired: its host is lost. Returns the outcome and the build's attempt;
-- stale if the lease was renewed, or the attempt ended otherwise.
-- ARGV: id, attempt, most attempts
local id, attempt, attempts_max = unpack(ARGV)
local function silence(host)
  return 'no heartbeat of ' .. host .. ' for the length of its lease'
end
local state, current, host = get(id, 'state', 'attempt', 'host')
if state ~= 'running' or current ~= attempt then
  local ended = closed_attempt(id, attempt)
  return became(attempt, ended, 'lost', ended and silence(ended.host))
end
if tonumber(redis.call('ZSCORE', key('leases'), id)) > now() then
  return {'stale', attempt}
end
return end_attempt(id, 'lost', silence(host), attempts_max)
