-- Claim the build for this host if it is queued and the attempt matches. Returns claimed, stale, or
-- refused (the host is drained).
-- ARGV: id, attempt, host, incarnation, lease in seconds
local id, attempt, host, incarnation, lease_s = unpack(ARGV)
if held(id, attempt, host, incarnation) then
  -- Once a step has begun, this is a message that came late or twice.
  return get(id, 'step') == '' and 'claimed' or 'stale'
end
local state, current = get(id, 'state', 'attempt')
if state ~= 'queued' or current ~= attempt then
  return 'stale'
end
if redis.call('HEXISTS', key('drained'), host) == 1 then
  return 'refused'
end
leave_queue(id)
redis.call('DEL', key('build', id, 'refusals'))
move(id, 'running')
set(id, 'host', host, 'incarnation', incarnation, 'claimed', stamp(now()))
redis.call('SADD', key('host', host, 'builds'), id)
redis.call('ZADD', key('leases'), stamp(now() + lease_s), id)
event(id, 'claimed', host)
return 'claimed'
