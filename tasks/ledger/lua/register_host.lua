-- A worker begins a new incarnation on a host: what an earlier incarnation held is lost. Gives triples of build,
-- what became of it, and its attempt.
-- ARGV: host, incarnation, most attempts, then pairs of what is known of the host
local host, incarnation, attempts_max = unpack(ARGV, 1, 3)
redis.call('ZADD', key('hosts'), stamp(now()), host)
redis.call('DEL', key('host', host))
redis.call('HSET', key('host', host), 'incarnation', incarnation, 'since', stamp(now()), unpack(ARGV, 4))
local answer = {}
for _, id in ipairs(redis.call('SMEMBERS', key('host', host, 'builds'))) do
  local holder, its_incarnation = get(id, 'host', 'incarnation')
  if holder == host and its_incarnation ~= incarnation then
    local became = end_attempt(id, 'lost', 'the worker on ' .. host .. ' was started again', attempts_max)
    table.insert(answer, {id, became[1], became[2]})
  end
end
return answer
