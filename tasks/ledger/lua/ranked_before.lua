-- The builds that come before a queued build on its queue, by rank. Returns pairs of id and attempt; none if
-- the build is not queued. What an older version claimed without leaving the order leaves it now.
-- ARGV: id, attempt, most builds
local id, attempt, limit = unpack(ARGV)
local state, current, queue = get(id, 'state', 'attempt', 'queue')
if state ~= 'queued' or current ~= attempt then
  return {}
end
local order, answer = key('waiting', queue, 'order'), {}
local its_rank = redis.call('ZSCORE', order, id)
if its_rank then
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', order, '-inf', '(' .. its_rank, 'LIMIT', 0, limit)) do
    local its_state, its_attempt = get(other, 'state', 'attempt')
    if its_state ~= 'queued' then
      redis.call('ZREM', order, other)
    elseif string.match(its_attempt, '^%d+$') then
      table.insert(answer, {other, its_attempt})
    end
  end
end
return answer
