-- Cancel a build. Returns cancelled (at once if no host holds it, or before for the same reason), asked
-- if a host has to stop it, ended if it has ended otherwise, unknown if there is no such build.
-- ARGV: id, reason
local id, reason = unpack(ARGV)
local state, cancel = get(id, 'state', 'cancel')
if not state then
  return 'unknown'
end
if state == 'queued' or state == 'blocked' then
  set(id, 'cancel', reason)
  close(id, 'cancelled', 'cancelled', reason)
  return 'cancelled'
end
if state == 'cancelled' and cancel == reason then
  return 'cancelled'
end
if state ~= 'running' then
  return 'ended'
end
if cancel ~= reason then
  set(id, 'cancel', reason)
  event(id, 'cancel', reason)
end
return 'asked'
