-- A host refused a queued build; `why` shows it. Returns ok, or stale if it is no longer queued.
-- ARGV: id, attempt, host, reason
local id, attempt, host, reason = unpack(ARGV)
local state, current = get(id, 'state', 'attempt')
if state ~= 'queued' or current ~= attempt then
  return 'stale'
end
redis.call('HSET', key('build', id, 'refusals'), host, stamp(now()) .. ' ' .. reason)
return 'ok'
