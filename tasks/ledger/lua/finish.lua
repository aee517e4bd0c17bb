-- The build succeeded and its artifacts become visible: ok, cancelled, or stale.
-- ARGV: id, attempt, host, incarnation, artifacts as JSON, URL of the folder they are in
local id, attempt, host, incarnation, artifacts, url = unpack(ARGV)
local state, current, cancel, holder = get(id, 'state', 'attempt', 'cancel', 'host')
if state == 'succeeded' and current == attempt and holder == host then
  return 'ok'
end
if not held(id, attempt, host, incarnation) then
  return 'stale'
end
if cancel ~= '' then
  return 'cancelled'
end
set(id, 'artifacts', artifacts, 'url', url, 'error', '', 'reason', '', 'hint', '')
forget_checkpoints(id)
close(id, 'succeeded', 'succeeded', '')
return 'ok'
