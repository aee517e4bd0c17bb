-- Add a new build, queued as attempt 1. Returns ok, or exists if another build has its id.
-- ARGV: id, build as JSON, queue, job, batch, optional (0 or 1), titles of its steps as JSON,
--       its variant (its options of the matrix), the build it starts from (or empty),
--       the version of stagefarm that writes it, the signatures of its JSON,
--       the build that it repeats (or empty)
local id, spec, queue, job, batch, optional, titles, variant, after, version, signatures, rebuild_of =
  unpack(ARGV)
local known = get(id, 'spec')
if known then
  return known == spec and 'ok' or 'exists'
end
set(id, 'spec', spec, 'version', version, 'queue', queue, 'job', job, 'batch', batch, 'optional', optional,
  'titles', titles, 'variant', variant, 'after', after, 'submitted', stamp(now()), 'lost', 0, 'cancel', '',
  'signatures', signatures, 'rebuild_of', rebuild_of or '')
if after ~= '' then
  redis.call('SADD', key('build', after, 'followers'), id)
end
enqueue(id, 1)
redis.call('SADD', key('queues'), queue)
redis.call('ZADD', key('builds'), stamp(now()), id)
if batch ~= '' then
  redis.call('ZADD', key('batches'), 'NX', stamp(now()), batch)
  redis.call('RPUSH', key('batch', batch, 'builds'), id)
end
event(id, get(id, 'state'), queue)
return 'ok'
