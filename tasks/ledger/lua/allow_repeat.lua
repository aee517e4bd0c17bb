-- The process that ran a step died, and the step is safe to repeat: it may begin once more. Returns
-- ok, stale if this token no longer runs it, or spent if it was repeated before.
-- ARGV: id, attempt, host, incarnation, step, token
local id, attempt, host, incarnation, step, token = unpack(ARGV)
local steps = key('build', id, 'steps')
local name = attempt .. '.' .. step .. '.'
if not held(id, attempt, host, incarnation) then
  return 'stale'
end
local begun_by, repeated = unpack(redis.call('HMGET', steps, name .. 'token', name .. 'repeated'))
if repeated == token then
  return 'ok'
end
if begun_by ~= token then
  return 'stale'
end
if repeated then
  return 'spent'
end
redis.call('HDEL', steps, name .. 'token')
redis.call('HSET', steps, name .. 'repeated', token)
event(id, 'repeated', step)
return 'ok'
