-- May this step run now? Returns run, done (it ended before), cancelled, or stale. `token` names the
-- caller, so that a repeated call gets the same answer.
-- ARGV: id, attempt, host, incarnation, step, token
local id, attempt, host, incarnation, step, token = unpack(ARGV)
if not held(id, attempt, host, incarnation) then
  return 'stale'
end
local steps = key('build', id, 'steps')
local function field(number, name)
  return attempt .. '.' .. number .. '.' .. name
end
if redis.call('HEXISTS', steps, field(step, 'ended')) == 1 then
  return 'done'
end
local cancel = get(id, 'cancel')
if cancel ~= '' then
  return 'cancelled'
end
local begun_by = redis.call('HGET', steps, field(step, 'token'))
if begun_by then
  return begun_by == token and 'run' or 'stale'
end
local before = tonumber(step) - 1
if before >= 0 and redis.call('HEXISTS', steps, field(before, 'ended')) == 0 then
  return 'stale'
end
redis.call('HSET', steps, field(step, 'token'), token, field(step, 'began'), stamp(now()))
set(id, 'step', step, 'step_began', stamp(now()), 'step_ended', '', 'progress', '')
event(id, 'began', step)
return 'run'
