-- Forget builds that ended long ago, a hundred at a time. Gives how many.
-- ARGV: the length of memory in seconds
local before = now() - tonumber(ARGV[1])
local forgotten = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('builds'), '-inf', stamp(before), 'LIMIT', 0, 100)) do
  local state, ended, batch = get(id, 'state', 'ended', 'batch')
  if not state or (ended and ended ~= '' and tonumber(ended) < before) then
    for _, part in ipairs({'steps', 'attempts', 'refusals', 'log', 'followers'}) do
      redis.call('DEL', key('build', id, part))
    end
    redis.call('DEL', key('build', id))
    redis.call('ZREM', key('builds'), id)
    forgotten = forgotten + 1
    if batch and batch ~= '' then
      redis.call('LREM', key('batch', batch, 'builds'), 1, id)
      if redis.call('EXISTS', key('batch', batch, 'builds')) == 0 then
        redis.call('DEL', key('batch', batch))
        redis.call('ZREM', key('batches'), batch)
      end
    end
  end
end
return forgotten
