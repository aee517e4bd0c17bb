-- Queued builds whose message was last sent, or seen in its queue, too long ago. Returns now, then
-- triples of queue, id, attempt.
-- ARGV: how many seconds are too long, maximum of builds per queue
local wait_s, limit = unpack(ARGV)
local time = now()
local answer = {stamp(time)}
for _, queue in ipairs(redis.call('SMEMBERS', key('queues'))) do
  local before = stamp(time - wait_s)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('waiting', queue), '-inf', before, 'LIMIT', 0, limit)) do
    table.insert(answer, {queue, id, (get(id, 'attempt'))})
  end
end
return answer
