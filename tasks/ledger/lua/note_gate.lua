-- What the gate of a publisher says of a build, for people; empty to remove that. Returns ok, or unknown if
-- there is no such build any more.
-- ARGV: id, text
local id, text = unpack(ARGV)
if not get(id, 'state') then
  return 'unknown'
end
set(id, 'gate', text)
return 'ok'
