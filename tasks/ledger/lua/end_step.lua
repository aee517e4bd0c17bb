-- The step succeeded. Returns ok, or stale if the build is no longer this host's.
-- ARGV: id, attempt, host, incarnation, step, its result as JSON, whether that has a checkpoint (0 or 1)
local id, attempt, host, incarnation, step, result, kept = unpack(ARGV)
local steps = key('build', id, 'steps')
local name = attempt .. '.' .. step .. '.'
local holds = held(id, attempt, host, incarnation)
if redis.call('HEXISTS', steps, name .. 'ended') == 1 and
    (holds or closed_attempt_of(id, attempt, host, incarnation)) then
  return 'ok'
end
if not holds then
  return 'stale'
end
redis.call('HSET', steps, name .. 'ended', stamp(now()), name .. 'result', result)
set(id, 'step_ended', stamp(now()), 'progress', '')
if kept == '1' then
  set(id, 'checkpoint', attempt .. '.' .. step)
end
event(id, 'stepped', step)
return 'ok'
