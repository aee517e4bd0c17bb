-- Note what became of incidents, and the messages that follow: all of it or nothing. So a message is made
-- once, whoever looks, and wherever one of them dies. Returns ok, also if this call is repeated, or stale if
-- another has noted something since what was read.
-- ARGV: the version that was read, the next one (a unique id), what is known as JSON,
--       then for each change: stages, incidents or outbox; its name; its JSON, or empty to remove it
local read, version, known = ARGV[1], ARGV[2], ARGV[3]
local notes = key('notify', 'notes')
local current = redis.call('HGET', notes, 'version') or ''
if current == version then
  return 'ok'
end
if current ~= read then
  return 'stale'
end
for i = 4, #ARGV, 3 do
  local what, name, text = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if text == '' then
    redis.call('HDEL', key('notify', what), name)
  else
    redis.call('HSET', key('notify', what), name, text)
  end
end
redis.call('HSET', notes, 'version', version, 'known', known)
return 'ok'
