-- Queue an ended build again, as its next attempt. Returns ok and the attempt; running if it has not
-- ended, broken if the build it starts from did not succeed, unknown if there is no such build.
-- `request` names the request, so that a repeated call queues no second attempt.
-- For a second try by another host, `second_after` is the attempt that failed; the answer is spent if that
-- is not how the build ended, or it had its second try.
-- ARGV: id, request, the checkpoint to resume from as `<attempt>.<step>` or empty, `second_after` or empty,
--       then for a respecified build: build as JSON, queue, titles of its steps as JSON, the version of
--       stagefarm, its signatures
local id, request, from, second_after, spec, queue, titles, version, signatures = unpack(ARGV)
local steps = key('build', id, 'steps')
local queued = redis.call('HGET', steps, 'retry.' .. request)
if queued then
  return {'ok', queued}
end
local state, attempt, artifacts = get(id, 'state', 'attempt', 'artifacts')
if not state then
  return {'unknown', ''}
end
if state == 'queued' or state == 'running' or state == 'blocked' then
  return {'running', attempt}
end
if second_after ~= '' and
    (state ~= 'failed' or attempt ~= second_after or (get(id, 'second_after') or '') ~= '') then
  return {'spent', attempt}
end
local after, its_state = obstacle(id)
if its_state == 'failed' or its_state == 'cancelled' then
  return {'broken', after}
end
if spec then
  set(id, 'spec', spec, 'queue', queue, 'titles', titles, 'version', version,
    'signatures', signatures)
  redis.call('SADD', key('queues'), queue)
end
if state == 'succeeded' then
  set(id, 'earlier_artifacts', artifacts)
end
set(id, 'cancel', '', 'lost', 0, 'error', '', 'reason', '', 'hint', '', 'ended', '',
  'artifacts', '', 'url', '', 'cause', '', 'checkpoint', from, 'second_after', second_after,
  'second_try', '')
redis.call('ZREM', key('ended'), id)
if get(id, 'order') then
  rank(id)
end
enqueue(id, attempt + 1)
resume(id, attempt + 1, from, 'asked')
redis.call('HSET', steps, 'retry.' .. request, attempt + 1)
redis.call('PERSIST', key('build', id, 'log'))
event(id, 'queued', 'retry')
return {'ok', tostring(attempt + 1)}
