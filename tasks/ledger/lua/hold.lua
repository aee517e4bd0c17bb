-- Take or renew the lock of a mirror, of which one publisher at a time holds the token.
-- Returns 1 if it is held by `token` now, 0 if another holds it.
-- ARGV: name of the lock, token, after how many seconds it ends without being renewed
local name, token, lease_s = unpack(ARGV)
local lock = key('publishing', name)
local holder = redis.call('GET', lock)
if holder and holder ~= token then
  return '0'
end
redis.call('SET', lock, token, 'PX', math.ceil(lease_s * 1000))
return '1'
