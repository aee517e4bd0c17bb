-- Make a night of a schedule: add all its builds, unless it was made before. All of it is this one script,
-- so a night is there with all its builds or not at all, and once, whoever else makes it.
-- Returns ok, also if this call is repeated, or made if another has made it.
-- ARGV: name of the schedule, its slot in seconds since 1970 (0 for a night made by hand), id of the night,
--       its stages as JSON, those of them that are left out as JSON, why nothing is built (empty if something
--       is), then for each build what `add` takes, each after the one it starts from
local PER_BUILD, FIRST = 13, 7
local name, slot, night, stages, left_out, said = ARGV[1], tonumber(ARGV[2]), unpack(ARGV, 3, 6)
local schedule = key('schedule', name)
local first, spec = ARGV[FIRST], ARGV[FIRST + 1]
if first and get(first, 'spec') == spec then
  return 'ok'
end
local last = tonumber(redis.call('HGET', schedule, 'last') or 0)
if (slot > 0 and last >= slot) or redis.call('EXISTS', key('batch', night, 'builds')) == 1 then
  return 'made'
end
for start = FIRST, #ARGV, PER_BUILD do
  add(unpack(ARGV, start, start + PER_BUILD - 1))
end
redis.call('HSET', schedule, 'made', stamp(now()), 'stages', stages, 'said', said, 'error', '', 'waits', 0)
if first then
  redis.call('HSET', schedule, 'night', night)
  redis.call('HSET', key('batch', night), 'left_out', left_out)
end
if slot > 0 then
  redis.call('HSET', schedule, 'last', slot)
end
return 'ok'
