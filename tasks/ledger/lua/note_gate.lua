-- What the gate of a publisher says of a build, for people; empty to remove that. Returns ok, or unknown if
-- there is no such build any more.
-- ARGV: id, text
local id, text = unpack(ARGV)
local state, before = get(id, 'state', 'gate')
if not state then
  return 'unknown'
end
if (before or '') ~= text then
  set(id, 'gate', text)
  event(id, 'gate', text)
end
return 'ok'
