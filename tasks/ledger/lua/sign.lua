-- Add signatures to a build that has none, with the JSON that they are of. Returns ok, or changed if the
-- build is not `before` any more, or was signed meanwhile; unknown if there is no such build.
-- ARGV: id, the build as JSON before, the build as JSON, its signatures
local id, before, spec, signatures = unpack(ARGV)
local known, its = get(id, 'spec', 'signatures')
if not known then
  return 'unknown'
end
if known == spec and its == signatures then
  return 'ok'
end
if known ~= before or (its and its ~= '' and its ~= '[]') then
  return 'changed'
end
set(id, 'spec', spec, 'signatures', signatures)
return 'ok'
