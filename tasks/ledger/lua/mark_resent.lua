-- The message of a queued build is sent again: restart its wait. Returns ok, or stale if the attempt is
-- no longer queued.
-- ARGV: id, attempt
local id, attempt = unpack(ARGV)
local state, current, queue = get(id, 'state', 'attempt', 'queue')
if state ~= 'queued' or current ~= attempt then
  return 'stale'
end
redis.call('ZADD', key('waiting', queue), 'XX', stamp(now()), id)
return 'ok'
