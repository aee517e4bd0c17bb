-- Note what became of a build's second try, once, also for the host on which it had failed. Returns known
-- if something else is noted, or the build was retried since; drained if the host takes no new builds,
-- because so many of its last failures passed on other hosts; else ok.
-- ARGV: id, attempt that had failed, the note as JSON, the host, how many of its last failures make it
--       suspect (0: none do), how many are kept
local id, second_after, note, host, most, kept = unpack(ARGV)
local after, before = get(id, 'second_after', 'second_try')
local notes = key('host', host, 'second_tries')
if after ~= second_after or (before ~= '' and before ~= note) then
  return 'known'
end
if before ~= note then
  set(id, 'second_try', note)
  event(id, 'second try', '')
  redis.call('LPUSH', notes, note)
  redis.call('LTRIM', notes, 0, kept - 1)
end
local passed = 0
for _, one in ipairs(redis.call('LRANGE', notes, 0, -1)) do
  if cjson.decode(one).outcome == 'host' then
    passed = passed + 1
  end
end
if tonumber(most) > 0 and passed >= tonumber(most) then
  redis.call('HSETNX', key('drained'), host, stamp(now()))
  return 'drained'
end
return 'ok'
