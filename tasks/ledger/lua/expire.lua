-- The lease of a build has run out: its host is lost. Gives what became of it, and its attempt.
-- ARGV: id, most attempts
local id, attempts_max = unpack(ARGV)
local until_ = redis.call('ZSCORE', key('leases'), id)
local state, attempt, host = get(id, 'state', 'attempt', 'host')
if not until_ or tonumber(until_) > now() or state ~= 'running' then
  return {'stale', attempt or ''}
end
return end_attempt(id, 'lost', 'no sign of ' .. host .. ' for the length of its lease', attempts_max)
