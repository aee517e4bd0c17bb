-- The host has stopped and wiped a build that was to be cancelled: ok or stale.
-- ARGV: id, attempt, host, life
local id, attempt, host, life = unpack(ARGV)
if not held(id, attempt, host, life) then
  return 'stale'
end
local cancel = get(id, 'cancel')
close(id, 'cancelled', 'cancelled', cancel)
return 'ok'
