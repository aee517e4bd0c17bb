-- The build failed. Returns ok, cancelled (a cancel came before), or stale.
-- ARGV: id, attempt, host, incarnation, name of the error, its message, its hint, URL of the record,
--       its cause as JSON or empty
local id, attempt, host, incarnation, error, reason, hint, url, cause = unpack(ARGV)
if not held(id, attempt, host, incarnation) then
  return ended_before(id, attempt, host, incarnation, 'failed')
end
local cancel = get(id, 'cancel')
if cancel ~= '' then
  return 'cancelled'
end
set(id, 'error', error, 'reason', reason, 'hint', hint, 'url', url, 'cause', cause)
close(id, 'failed', 'failed', reason)
return 'ok'
