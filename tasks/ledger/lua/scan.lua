-- A scan of the leases, by the leading supervisor only. No lease expires for two lease lengths after
-- Redis was started, or after a time without scans.
-- Returns leader (0 or 1), for how many seconds no lease expires, then for each expired lease: build,
-- attempt.
-- ARGV: token of the supervisor, lease in seconds, how long a leader leads without a scan, which gap
--       between scans counts as a time without them, run id of Redis
local token, lease_s, leads_s, gap_s, run_id = unpack(ARGV)
local leader = redis.call('GET', key('leader'))
if leader and leader ~= token then
  return {'0', '0'}
end
redis.call('SET', key('leader'), token, 'PX', math.ceil(leads_s * 1000))
local time = now()
local last, seen_run, quiet = unpack(redis.call('HMGET', key('watch'), 'last', 'run_id', 'quiet'))
if not last or seen_run ~= run_id or time - tonumber(last) > tonumber(gap_s) then
  quiet = stamp(time + 2 * lease_s)
end
redis.call('HSET', key('watch'), 'last', stamp(time), 'run_id', run_id, 'quiet', quiet)
local rest = tonumber(quiet) - time
if rest > 0 then
  return {'1', stamp(rest)}
end
local answer = {'1', '0'}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('leases'), '-inf', stamp(time), 'LIMIT', 0, 1000)) do
  table.insert(answer, {id, get(id, 'attempt')})
end
return answer
