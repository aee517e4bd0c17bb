-- A worker begins a new incarnation on a host: what an earlier incarnation held is lost. Returns
-- triples of build, outcome, and attempt.
-- ARGV: host, incarnation, maximum of attempts, then fields and values of the host
local host, incarnation, attempts_max = unpack(ARGV, 1, 3)
local registered, lost = unpack(redis.call('HMGET', key('host', host), 'incarnation', 'lost'))
if registered == incarnation then
  return cjson.decode(lost)
end
local answer = {}
for _, id in ipairs(redis.call('SMEMBERS', key('host', host, 'builds'))) do
  local reason = 'the worker on ' .. host .. ' was started again'
  table.insert(answer, {id, unpack(end_attempt(id, 'lost', reason, attempts_max))})
end
redis.call('ZADD', key('hosts'), stamp(now()), host)
redis.call('DEL', key('host', host))
redis.call('HSET', key('host', host), 'incarnation', incarnation, 'since', stamp(now()),
  'lost', cjson.encode(answer), unpack(ARGV, 4))
return answer
