-- An ended build anew, as its next attempt: queued and the attempt; running if it has not ended,
-- unknown if there is no such build.
-- ARGV: id, the checkpoint to go on from as `<attempt>.<step>` or empty, then for a build that was
--       mended: build as JSON, queue, titles of its steps as JSON
local id, from, spec, queue, titles = unpack(ARGV)
local state, attempt = get(id, 'state', 'attempt')
if not state then
  return {'unknown', ''}
end
if state == 'queued' or state == 'running' then
  return {'running', attempt}
end
if spec then
  set(id, 'spec', spec, 'queue', queue, 'titles', titles)
  redis.call('SADD', key('queues'), queue)
end
set(id, 'cancel', '', 'lost', 0, 'error', '', 'reason', '', 'hint', '', 'ended', '',
  'checkpoint', from)
enqueue(id, attempt + 1)
resume(id, attempt + 1, from, 'asked')
redis.call('PERSIST', key('build', id, 'log'))
event(id, 'queued', 'retry')
return {'queued', tostring(attempt + 1)}
