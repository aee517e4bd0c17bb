-- Make a night of a schedule: add all its builds, unless it was made before. All of it is this one script,
-- so a night is there with all its builds or not at all, and once, whoever else makes it.
-- Returns ok, also if this call is repeated, or made if another has made it.
-- ARGV: name of the schedule, its slot in seconds since 1970 (0 for a night made by hand), id of the night,
--       then for each build what `add` takes, each after the one it starts from
local PER_BUILD = 13
local name, slot, night = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local schedule = key('schedule', name)
local first, spec = ARGV[4], ARGV[5]
if get(first, 'spec') == spec then
  return 'ok'
end
local last = tonumber(redis.call('HGET', schedule, 'last') or 0)
if (slot > 0 and last >= slot) or redis.call('EXISTS', key('batch', night, 'builds')) == 1 then
  return 'made'
end
for start = 4, #ARGV, PER_BUILD do
  add(unpack(ARGV, start, start + PER_BUILD - 1))
end
redis.call('HSET', schedule, 'night', night, 'made', stamp(now()), 'said', '', 'error', '', 'waits', 0)
if slot > 0 then
  redis.call('HSET', schedule, 'last', slot)
end
return 'ok'
