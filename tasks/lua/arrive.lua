-- A worker begins a new life on a host: what an earlier life held is lost. Gives triples of build,
-- what became of it, and its attempt.
-- ARGV: host, life, most attempts, then pairs of what is known of the host
local host, life, attempts_max = unpack(ARGV, 1, 3)
redis.call('ZADD', key('hosts'), stamp(now()), host)
redis.call('DEL', key('host', host))
redis.call('HSET', key('host', host), 'life', life, 'since', stamp(now()), unpack(ARGV, 4))
local answer = {}
for _, id in ipairs(redis.call('SMEMBERS', key('host', host, 'builds'))) do
  local holder, its_life = get(id, 'host', 'life')
  if holder == host and its_life ~= life then
    local became = give_up(id, 'lost', 'the worker on ' .. host .. ' was started again', attempts_max)
    table.insert(answer, {id, became[1], became[2]})
  end
end
return answer
