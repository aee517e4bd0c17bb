-- The step ended well: ok, or stale if the build is no longer this host's.
-- ARGV: id, attempt, host, incarnation, step, its result as JSON, whether that has a checkpoint (0 or 1)
local id, attempt, host, incarnation, step, result, kept = unpack(ARGV)
if not held(id, attempt, host, incarnation) then
  return 'stale'
end
local name = attempt .. '.' .. step .. '.'
redis.call('HSET', key('build', id, 'steps'), name .. 'ended', stamp(now()), name .. 'result', result)
set(id, 'step_ended', stamp(now()), 'progress', '')
if kept == '1' then
  set(id, 'checkpoint', attempt .. '.' .. step)
end
event(id, 'stepped', step)
return 'ok'
