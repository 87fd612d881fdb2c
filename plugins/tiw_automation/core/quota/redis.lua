-- SPDX-License-Identifier: Apache-2.0
-- One call of one process: it reports, and takes slots of the account's pace.
--
-- KEYS  the state (a hash), when requests arrived (a sorted set), the processes (a hash)
-- ARGV  process, seconds that nothing is granted (0: no pause), spread, allowed, pace, share,
--       waits, unconfirmed, wanted, part that it would use alone, "1" where it was rejected,
--       "1" where it leaves, how many slots, then for each the least delay, then pairs of a
--       slot's number and the latest arrival of its request ("-" where it never left)
-- Returns  now, the pace, the part that it may use alone, the number of the first slot,
--       the delays of the slots, the processes (this one first)
local ACTIVE_S, REGISTERED_S, AHEAD_S = 5, 10, 4
local UNUSABLE_AFTER_S, KEPT_S = 5, 3600
local call, tonumber, format, match = redis.call, tonumber, string.format, string.match
local max, min = math.max, math.min
local state_key, arrivals_key, processes_key = KEYS[1], KEYS[2], KEYS[3]
local id = ARGV[1]
local pause, spread = tonumber(ARGV[2]), tonumber(ARGV[3])
local allowed, own = tonumber(ARGV[4]), tonumber(ARGV[5])
local clock = call('TIME')
local now = clock[1] + clock[2] / 1000000
local now_text = format('%.6f', now)

local function number(text)
  local found = tonumber(text or '')
  -- Not a number is unequal to itself.
  return found == found and found or nil
end

local state = call('HMGET', state_key, 'next', 'last', 'factor', 'since', 'taken')
local next_slot, last, factor = number(state[1]), number(state[2]), number(state[3])
local since, taken = number(state[4]), number(state[5])
if not (factor and since and factor >= 0.05 and factor <= 1) then
  factor, since = 1, 0
end
since = min(since, now)

local function restart()
  next_slot = now + 1 + spread
  call('DEL', arrivals_key)
end

local went_back = last ~= nil and now < last - 0.001
if not (next_slot and last and taken) or went_back then
  -- No number of a state that was lost comes again.
  taken = taken or math.floor(now * 1000)
  restart()
end
if went_back then
  -- Their times lie ahead. The processes that still run write theirs anew.
  call('DEL', processes_key)
end

-- The processes: when each called last and took its last slot, and what it wants.
local others, fastest, alone_of_others, my_seen = {}, own, 0, nil
local stored = call('HGETALL', processes_key)
for i = 1, #stored, 2 do
  local called, seen, wants, pace, alone =
    match(stored[i + 1], '^(%S+) (%S+) (%S+ %S+ %S+ (%S+) %S+ (%S+))$')
  called, seen, pace, alone = number(called), number(seen), number(pace), number(alone)
  if not (called and seen and pace and alone) or now - called > REGISTERED_S then
    call('HDEL', processes_key, stored[i])
  elseif stored[i] == id then
    my_seen = min(seen, now)
  else
    local quiet = max(now - seen, 0)
    others[#others + 1] = format('%.6f ', quiet) .. wants
    alone_of_others = alone_of_others + alone
    if quiet <= ACTIVE_S and pace > fastest then
      fastest = pace
    end
  end
end

local function recovered()
  return factor >= 1 and 1 or min(factor + (now - since) * 0.1 / 19, 1)
end

if ARGV[11] == '1' and now - since >= 1 then
  factor = recovered()
  factor = max(factor * (factor == 1 and 0.9 or 0.7), 0.05)
  since = now
end
local pace = fastest * recovered()
if next_slot > now + UNUSABLE_AFTER_S + 1 / pace then
  restart()
end
if pause > 0 then
  next_slot = max(next_slot, now + pause)
end

local count = tonumber(ARGV[13])
for i = 14 + count, #ARGV, 2 do
  if ARGV[i + 1] == '-' then
    call('ZREM', arrivals_key, ARGV[i])
  else
    call('ZADD', arrivals_key, 'XX', ARGV[i + 1], ARGV[i])
  end
end

local first, delays = taken, {}
local limit = max(allowed, math.floor(allowed * fastest / own + 0.5))
for i = 1, count do
  local time = max(now + tonumber(ARGV[13 + i]), next_slot)
  local latest = call('ZREVRANGE', arrivals_key, limit - 1, limit - 1, 'WITHSCORES')
  if latest[2] then
    time = max(time, latest[2] + 1)
  end
  if time > now + AHEAD_S then
    break
  end
  call('ZADD', arrivals_key, format('%.6f', time + spread), format('%.0f', taken))
  taken, next_slot = taken + 1, time + 1 / pace
  delays[i] = format('%.6f', time - now)
end
if #delays > 0 then
  -- No slot lies further ahead, so these are needed no more.
  call('ZREMRANGEBYSCORE', arrivals_key, '-inf', now - 3)
  call('EXPIRE', arrivals_key, KEPT_S)
end

local alone = max(min(tonumber(ARGV[10]), 1 - alone_of_others), 0)
if ARGV[12] == '1' then
  call('HDEL', processes_key, id)
else
  local wants = table.concat(
    {ARGV[7], ARGV[8], ARGV[9], ARGV[5], ARGV[6], format('%.6f', alone)}, ' ')
  local seen = (#delays > 0 or not my_seen) and now_text or format('%.6f', my_seen)
  call('HSET', processes_key, id, now_text .. ' ' .. seen .. ' ' .. wants)
  call('EXPIRE', processes_key, KEPT_S)
  table.insert(others, 1, '0 ' .. wants)
end
call('HSET', state_key, 'next', format('%.6f', next_slot), 'last', now_text,
  'factor', format('%.6f', factor), 'since', format('%.6f', since), 'taken', format('%.0f', taken))
call('EXPIRE', state_key, KEPT_S)
return {now_text, format('%.6f', pace), format('%.6f', alone), format('%.0f', first), delays, others}
