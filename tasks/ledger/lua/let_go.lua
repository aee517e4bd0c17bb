-- End the lock of a mirror, if `token` still holds it.
-- ARGV: name of the lock, token
local name, token = unpack(ARGV)
local lock = key('publishing', name)
if redis.call('GET', lock) == token then
  redis.call('DEL', lock)
end
return '1'
