-- A heartbeat. Renews the leases of the builds that this incarnation of the host holds.
-- Returns now, drained (0 or 1), then for each build: id, attempt, cancel reason, claimed, step,
-- when the step began, when it ended, token of the task that runs it.
-- ARGV: host, incarnation, lease in seconds, then fields and values of the host
local host, incarnation, lease_s = unpack(ARGV, 1, 3)
redis.call('ZADD', key('hosts'), stamp(now()), host)
if #ARGV > 3 then
  redis.call('HSET', key('host', host), 'incarnation', incarnation, unpack(ARGV, 4))
end
local answer = {stamp(now()), redis.call('HEXISTS', key('drained'), host)}
for _, id in ipairs(redis.call('SMEMBERS', key('host', host, 'builds'))) do
  local attempt, cancel, claimed, step, began, ended =
    get(id, 'attempt', 'cancel', 'claimed', 'step', 'step_began', 'step_ended')
  if held(id, attempt, host, incarnation) then
    redis.call('ZADD', key('leases'), stamp(now() + lease_s), id)
    local token = redis.call('HGET', key('build', id, 'steps'), attempt .. '.' .. step .. '.token')
    table.insert(answer, {id, attempt, cancel, claimed, step, began, ended, token or ''})
  end
end
return answer
