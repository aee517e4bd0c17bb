-- An ended build anew, as its next attempt: queued and the attempt; running if it has not ended,
-- unknown if there is no such build.
-- ARGV: id
local id = unpack(ARGV)
local state, attempt = get(id, 'state', 'attempt')
if not state then
  return {'unknown', ''}
end
if state == 'queued' or state == 'running' then
  return {'running', attempt}
end
set(id, 'cancel', '', 'lost', 0, 'error', '', 'reason', '', 'hint', '', 'ended', '')
enqueue(id, attempt + 1)
redis.call('PERSIST', key('build', id, 'log'))
event(id, 'queued', 'retry')
return {'queued', tostring(attempt + 1)}
