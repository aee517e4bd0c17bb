-- A host did not take a queued build; `why` tells people.
-- ARGV: id, attempt, host, reason
local id, attempt, host, reason = unpack(ARGV)
local state, current = get(id, 'state', 'attempt')
if state ~= 'queued' or current ~= attempt then
  return 'stale'
end
redis.call('HSET', key('build', id, 'refusals'), host, stamp(now()) .. ' ' .. reason)
return 'ok'
