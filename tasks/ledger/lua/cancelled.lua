-- The host has stopped and wiped a build that was to be cancelled: ok or stale.
-- ARGV: id, attempt, host, incarnation
local id, attempt, host, incarnation = unpack(ARGV)
if not held(id, attempt, host, incarnation) then
  return 'stale'
end
local cancel = get(id, 'cancel')
close(id, 'cancelled', 'cancelled', cancel)
return 'ok'
