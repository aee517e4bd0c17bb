-- Note how the delivery to a target stands, unless it stands further already. Returns ok, or stale if it
-- does.
-- ARGV: mark of the target, number of the last message that it has, how it stands as JSON, or empty to
--       forget the target
local mark, number, text = unpack(ARGV)
local targets = key('notify', 'targets')
local before = string.match(redis.call('HGET', targets, mark) or '', '^%d+')
if text == '' then
  redis.call('HDEL', targets, mark)
elseif before and tonumber(before) > tonumber(number) then
  return 'stale'
else
  redis.call('HSET', targets, mark, number .. ' ' .. text)
end
return 'ok'
