-- Forget a build if it ended before a time. Returns 1 if it is gone now, 0 if it is kept.
-- ARGV: id, the time in seconds since 1970
local id, before = unpack(ARGV)
local ended = redis.call('ZSCORE', key('ended'), id)
if ended and tonumber(ended) < tonumber(before) then
  local state, batch, after = get(id, 'state', 'batch', 'after')
  if after ~= '' then
    redis.call('SREM', key('build', after, 'followers'), id)
  end
  if batch ~= '' then
    redis.call('HINCRBY', key('batch', batch), state, -1)
    redis.call('LREM', key('batch', batch, 'builds'), 1, id)
    if redis.call('EXISTS', key('batch', batch, 'builds')) == 0 then
      redis.call('DEL', key('batch', batch))
      redis.call('ZREM', key('batches'), batch)
    end
  end
  for _, part in ipairs({'steps', 'attempts', 'refusals', 'log', 'followers'}) do
    redis.call('DEL', key('build', id, part))
  end
  redis.call('DEL', key('build', id))
  redis.call('ZREM', key('builds'), id)
  redis.call('ZREM', key('ended'), id)
  event(id, 'forgotten')
end
return 1 - redis.call('EXISTS', key('build', id))
