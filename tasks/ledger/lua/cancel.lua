-- Ask for the end of a build: cancelled at once if no host holds it, else asked; ended if it has
-- ended already, unknown if there is no such build.
-- ARGV: id, reason
local id, reason = unpack(ARGV)
local state = get(id, 'state')
if not state then
  return 'unknown'
end
if state == 'queued' or state == 'blocked' then
  set(id, 'cancel', reason)
  close(id, 'cancelled', 'cancelled', reason)
  return 'cancelled'
end
if state ~= 'running' then
  return 'ended'
end
set(id, 'cancel', reason)
event(id, 'cancel', reason)
return 'asked'
