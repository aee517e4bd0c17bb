-- Put before every script. KEYS[1] is the farm's prefix with its colon, so that it matches the key
-- pattern of an ACL; docs/farm.md lists every key.
-- The clock is Redis's, in seconds since 1970; times are stored with milliseconds.

local EVENTS_KEPT = 10000
local LOG_KEPT_S = 7 * 24 * 3600
local RANKS_AT_ONCE = 1000000

local function key(...)
  return KEYS[1] .. table.concat({...}, ':')
end

local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local function stamp(time)
  return string.format('%.3f', time)
end

local function get(id, ...)
  return unpack(redis.call('HMGET', key('build', id), ...))
end

local function set(id, ...)
  redis.call('HSET', key('build', id), ...)
end

local function event(id, what, detail)
  redis.call('XADD', key('events'), 'MAXLEN', '~', EVENTS_KEPT, '*',
    'build', id, 'event', what, 'detail', detail or '')
end

-- As what a batch counts a build in `state`. One that is tried again by another host counts as failed
-- until that has ended: its batch does not wait for it.
local function counted(state, second_after)
  local goes_on = state == 'queued' or state == 'blocked' or state == 'running'
  return (second_after or '') ~= '' and goes_on and 'failed' or state
end

-- The build's state, and its batch's count of builds in each state.
local function move(id, state)
  local before, batch, second_after = get(id, 'state', 'batch', 'second_after')
  if batch and batch ~= '' then
    if before then
      redis.call('HINCRBY', key('batch', batch), counted(before, second_after), -1)
    end
    redis.call('HINCRBY', key('batch', batch), counted(state, second_after), 1)
  end
  set(id, 'state', state)
end

-- Is `attempt` the build's attempt, and this incarnation of this host the one that claimed it?
local function held(id, attempt, host, incarnation)
  local state, current, holder, its_incarnation = get(id, 'state', 'attempt', 'host', 'incarnation')
  return state == 'running' and current == attempt and holder == host and its_incarnation == incarnation
end

-- No host holds the build any longer: remove its lease, and remove it from its host's list.
local function release_lease(id)
  local host = get(id, 'host')
  redis.call('ZREM', key('leases'), id)
  if host and host ~= '' then
    redis.call('SREM', key('host', host, 'builds'), id)
  end
end

-- Store how the current attempt ended, for the history of the build and for repeated calls of its
-- holder.
local function close_attempt(id, how, reason)
  local attempt, host, incarnation, claimed, step, url, cause =
    get(id, 'attempt', 'host', 'incarnation', 'claimed', 'step', 'url', 'cause')
  local known, found = pcall(cjson.decode, cause or '')
  redis.call('HSET', key('build', id, 'attempts'), attempt, cjson.encode({
    host = host, incarnation = incarnation, claimed = claimed, step = step, ended = stamp(now()),
    how = how, reason = reason, url = url or '',
    fingerprint = known and type(found) == 'table' and found.fingerprint or ''}))
end

-- What `close_attempt` stored of an attempt, nil if it has not ended.
local function closed_attempt(id, attempt)
  local ended = redis.call('HGET', key('build', id, 'attempts'), attempt)
  return ended and cjson.decode(ended) or nil
end

-- The same, nil if another holder had claimed it.
local function closed_attempt_of(id, attempt, host, incarnation)
  local ended = closed_attempt(id, attempt)
  if ended and ended.host == host and ended.incarnation == incarnation then
    return ended
  end
end

-- The answer to a caller that ends an attempt as `how` but does not hold it: ok if it ended it so
-- before, cancelled if the attempt was cancelled, else stale.
local function ended_before(id, attempt, host, incarnation, how)
  local ended = closed_attempt_of(id, attempt, host, incarnation)
  if ended and ended.how == how then
    return 'ok'
  end
  return ended and ended.how == 'cancelled' and 'cancelled' or 'stale'
end

-- The build whose tarball `id` starts from, and its state; nil if that has succeeded, or is forgotten.
local function obstacle(id)
  local after = get(id, 'after')
  local state = after and after ~= '' and get(after, 'state')
  if state and state ~= 'succeeded' then
    return after, state
  end
end

-- Give the build its rank on its queue: by when it should start, in seconds since 1970. Its turn is when it
-- would come if the builds that share its flow had the queue to themselves, so that many of one flow do not
-- come before one of another. A contract may put it later than that, not earlier; patience is how long after
-- its turn at most. Builds of one rank come as they were given it: those are the decimals.
local function rank(id)
  local queue, order = get(id, 'queue', 'order')
  local given, time = cjson.decode(order), now()
  local shares = key('waiting', queue, 'shares')
  redis.call('ZREMRANGEBYSCORE', shares, '-inf', stamp(time))
  local turn = math.max(time, tonumber(redis.call('ZSCORE', shares, given.flow) or 0))
  redis.call('ZADD', shares, stamp(turn + given.cost_s), given.flow)
  local seconds = math.floor(math.min(math.max(turn, given.latest), turn + given.patience_s))
  local count = redis.call('INCR', key('waiting', queue, 'count')) % RANKS_AT_ONCE
  set(id, 'turn', stamp(turn), 'rank', string.format('%.6f', seconds + count / RANKS_AT_ONCE))
end

-- The build waits on its queue no longer.
local function leave_queue(id)
  local queue = get(id, 'queue')
  redis.call('ZREM', key('waiting', queue), id)
  redis.call('ZREM', key('waiting', queue, 'order'), id)
end

local close

-- Queue the build; or block it until the build it starts from has succeeded; or cancel it if that one
-- failed or was cancelled.
local function enqueue(id, attempt)
  local queue, its_rank = get(id, 'queue', 'rank')
  set(id, 'attempt', attempt, 'queued', stamp(now()), 'host', '', 'incarnation', '', 'claimed', '',
    'step', '', 'step_began', '', 'step_ended', '', 'progress', '')
  local after, state = obstacle(id)
  move(id, after and 'blocked' or 'queued')
  if not after then
    redis.call('ZADD', key('waiting', queue), stamp(now()), id)
    redis.call('ZADD', key('waiting', queue, 'order'), its_rank or stamp(now()), id)
  elseif state == 'failed' or state == 'cancelled' then
    local reason = after .. ', which it starts from, ' ..
      (state == 'failed' and 'failed' or 'was cancelled')
    set(id, 'cancel', reason)
    close(id, 'cancelled', 'cancelled', reason)
  end
end

-- Queue or cancel the builds that `id` blocked.
local function release(id)
  for _, follower in ipairs(redis.call('SMEMBERS', key('build', id, 'followers'))) do
    local state, attempt = get(follower, 'state', 'attempt')
    if state == 'blocked' then
      enqueue(follower, attempt)
      if get(follower, 'state') == 'queued' then
        event(follower, 'queued', id)
      end
    end
  end
end

-- End the build as `state`; only `retry` queues it again.
function close(id, state, how, reason)
  close_attempt(id, how, reason)
  release_lease(id)
  leave_queue(id)
  move(id, state)
  set(id, 'ended', stamp(now()), 'progress', '')
  redis.call('ZADD', key('ended'), stamp(now()), id)
  redis.call('EXPIRE', key('build', id, 'log'), LOG_KEPT_S)
  event(id, state, reason)
  release(id)
end

local function history(id)
  local fields = redis.call('HGETALL', key('build', id, 'attempts'))
  local places = {}
  for i = 1, #fields, 2 do
    local one = cjson.decode(fields[i + 1])
    if one.how == 'lost' then
      local step = one.step ~= '' and ('step ' .. one.step) or 'no step'
      table.insert(places, {tonumber(fields[i]),
        'attempt ' .. fields[i] .. ' on ' .. one.host .. ' at ' .. step .. ': ' .. one.reason})
    end
  end
  table.sort(places, function(a, b) return a[1] < b[1] end)
  local lines = {}
  for _, place in ipairs(places) do
    table.insert(lines, place[2])
  end
  return table.concat(lines, '; ')
end

-- Attempt `attempt` resumes from the checkpoint `from` of an earlier attempt, as `<attempt>.<step>`:
-- the steps before count as done, the step itself restores the checkpoint. Does nothing if `from` is
-- empty.
local function resume(id, attempt, from, why)
  local old, step = string.match(from or '', '^(%d+)%.(%d+)$')
  if not old then
    return
  end
  local steps = key('build', id, 'steps')
  for i = 0, step - 1 do
    local name = '.' .. i .. '.'
    local result = redis.call('HGET', steps, old .. name .. 'result')
    redis.call('HSET', steps, attempt .. name .. 'ended', stamp(now()),
      attempt .. name .. 'result', result or '{}')
  end
  redis.call('HSET', steps, attempt .. '.resume', from .. ' ' .. why)
end

-- The build has succeeded: remove its checkpoints. The results that contain one contain nothing else.
local function forget_checkpoints(id)
  local steps = key('build', id, 'steps')
  local fields = redis.call('HGETALL', steps)
  for i = 1, #fields, 2 do
    if string.find(fields[i + 1], '"checkpoint":{', 1, true) then
      redis.call('HSET', steps, fields[i], '{}')
    end
  end
  set(id, 'checkpoint', '')
end

-- The outcome of a build whose attempt ended as `how` for `reason`, and its attempt: the answer to a
-- repeated call; stale if the attempt ended otherwise.
local function became(attempt, ended, how, reason)
  if ended and ended.how == 'cancelled' then
    return {'cancelled', attempt}
  end
  if not ended or ended.how ~= how or ended.reason ~= reason then
    return {'stale', attempt}
  end
  return {ended.became, ended.became == 'failed' and attempt or tostring(attempt + 1)}
end

-- The attempt has ended but not the build: queue the next attempt, unless a cancel was requested or too
-- many attempts were lost. Returns the outcome and the build's attempt.
local function end_attempt(id, how, reason, attempts_max)
  local attempt, lost, cancel = get(id, 'attempt', 'lost', 'cancel')
  if cancel ~= '' then
    close(id, 'cancelled', 'cancelled', cancel)
    return {'cancelled', attempt}
  end
  close_attempt(id, how, reason)
  if how == 'lost' then
    lost = redis.call('HINCRBY', key('build', id), 'lost', 1)
  end
  if tonumber(lost) >= tonumber(attempts_max) then
    set(id, 'error', 'BuildFailed', 'hint', 'stagefarm retry builds it again',
      'reason', 'lost ' .. lost .. ' times: ' .. history(id))
    close(id, 'failed', how, reason)
  else
    release_lease(id)
    enqueue(id, attempt + 1)
    resume(id, attempt + 1, get(id, 'checkpoint'), how)
    event(id, how, reason)
  end
  local ended = closed_attempt(id, attempt)
  ended.became = get(id, 'state')
  redis.call('HSET', key('build', id, 'attempts'), attempt, cjson.encode(ended))
  return became(attempt, ended, how, reason)
end

-- Add a new build, queued as attempt 1. Returns ok, or exists if another build has its id.
-- Its arguments: id, build as JSON, queue, job, batch, optional (0 or 1), titles of its steps as JSON,
-- its variant (its options of the matrix), the build it starts from (or empty), the version of stagefarm
-- that writes it, the signatures of its JSON, the build that it repeats (or empty), what its rank is made of
-- as JSON
local function add(
  id, spec, queue, job, batch, optional, titles, variant, after, version, signatures, rebuild_of, order)
  local known = get(id, 'spec')
  if known then
    return known == spec and 'ok' or 'exists'
  end
  set(id, 'spec', spec, 'version', version, 'queue', queue, 'job', job, 'batch', batch, 'optional', optional,
    'titles', titles, 'variant', variant, 'after', after, 'submitted', stamp(now()), 'lost', 0, 'cancel', '',
    'signatures', signatures, 'rebuild_of', rebuild_of, 'order', order)
  rank(id)
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
end
