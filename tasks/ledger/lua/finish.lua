-- The build succeeded and its artifacts become visible. Returns ok, cancelled, or stale.
-- ARGV: id, attempt, host, incarnation, artifacts as JSON, URL of the folder they are in
local SUCCESSES_KEPT, SUCCESSES_KEPT_S = 9, 365 * 24 * 3600

-- Note when the build succeeded, and how long it took; 0 if it resumed from a checkpoint.
local function note_success(id, attempt)
  local queue, job, variant, claimed, rebuild_of = get(id, 'queue', 'job', 'variant', 'claimed', 'rebuild_of')
  if rebuild_of and rebuild_of ~= '' then
    return
  end
  local resumed = redis.call('HEXISTS', key('build', id, 'steps'), attempt .. '.resume') == 1
  local took_s = resumed and 0 or now() - tonumber(claimed)
  local successes = key('successes', queue, job, variant or '')
  redis.call('LPUSH', successes, stamp(now()) .. ' ' .. stamp(took_s))
  redis.call('LTRIM', successes, 0, SUCCESSES_KEPT - 1)
  redis.call('EXPIRE', successes, SUCCESSES_KEPT_S)
end

local id, attempt, host, incarnation, artifacts, url = unpack(ARGV)
if not held(id, attempt, host, incarnation) then
  return ended_before(id, attempt, host, incarnation, 'succeeded')
end
local cancel = get(id, 'cancel')
if cancel ~= '' then
  return 'cancelled'
end
set(id, 'artifacts', artifacts, 'url', url)
note_success(id, attempt)
forget_checkpoints(id)
close(id, 'succeeded', 'succeeded', '')
return 'ok'
