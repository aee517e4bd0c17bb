-- The host has stopped a build because of a cancel. Returns ok or stale.
-- ARGV: id, attempt, host, incarnation
local id, attempt, host, incarnation = unpack(ARGV)
if not held(id, attempt, host, incarnation) then
  return ended_before(id, attempt, host, incarnation, 'cancelled')
end
close(id, 'cancelled', 'cancelled', get(id, 'cancel'))
return 'ok'
