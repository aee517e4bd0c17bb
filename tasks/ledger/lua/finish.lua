-- The build succeeded and its artifacts become visible. Returns ok, cancelled, or stale.
-- ARGV: id, attempt, host, incarnation, artifacts as JSON, URL of the folder they are in
local id, attempt, host, incarnation, artifacts, url = unpack(ARGV)
if not held(id, attempt, host, incarnation) then
  return ended_before(id, attempt, host, incarnation, 'succeeded')
end
local cancel = get(id, 'cancel')
if cancel ~= '' then
  return 'cancelled'
end
set(id, 'artifacts', artifacts, 'url', url)
forget_checkpoints(id)
close(id, 'succeeded', 'succeeded', '')
return 'ok'
