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
local ACTIVE_S, REGISTERED_S, AHEAD_S, TOLERANCE_S = 5, 10, 4, 0.005
local UNUSABLE_AFTER_S, KEPT_S = 5, 3600
local id = ARGV[1]
local pause, spread = tonumber(ARGV[2]), tonumber(ARGV[3])
local allowed, own = tonumber(ARGV[4]), tonumber(ARGV[5])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000

local function text(number)
  return string.format('%.6f', number)
end

local function number(value)
  local found = tonumber(value or '')
  -- Not a number is unequal to itself.
  return found == found and found or nil
end

local state = redis.call('HMGET', KEYS[1], 'next', 'last', 'factor', 'since', 'taken')
local next_slot, last, factor = number(state[1]), number(state[2]), number(state[3])
local since, taken = number(state[4]), number(state[5])
if not (factor and since and factor >= 0.05 and factor <= 1) then
  factor, since = 1, 0
end
since = math.min(since, now)

local function restart()
  next_slot = now + 1 + spread
  redis.call('DEL', KEYS[2])
end

local went_back = last ~= nil and now < last - 0.001
if not (next_slot and last and taken) or went_back then
  taken = taken or 0
  restart()
end
if went_back then
  -- Their times lie ahead. The processes that still run write theirs anew.
  redis.call('DEL', KEYS[3])
end

-- The processes: when each called last and took its last slot, and what it wants.
local rows, order, fastest, alone_of_others = {}, {}, own, 0
local stored = redis.call('HGETALL', KEYS[3])
for i = 1, #stored, 2 do
  local row = {}
  for field in string.gmatch(stored[i + 1], '%S+') do
    row[#row + 1] = number(field)
  end
  local sound = #row == 8
  if sound then
    row[1], row[2] = math.min(row[1], now), math.min(row[2], now)
  end
  if not sound or now - row[1] > REGISTERED_S then
    redis.call('HDEL', KEYS[3], stored[i])
  elseif stored[i] ~= id then
    order[#order + 1] = row
    alone_of_others = alone_of_others + row[8]
    if now - row[2] <= ACTIVE_S then
      fastest = math.max(fastest, row[6])
    end
  else
    rows.mine = row
  end
end

local function recovered()
  if factor >= 1 then
    return 1
  end
  return math.min(factor + (now - since) * 0.1 / 19, 1)
end

if ARGV[11] == '1' and now - since >= 1 then
  factor = recovered()
  factor = math.max(factor * (factor == 1 and 0.9 or 0.7), 0.05)
  since = now
end
local pace = fastest * recovered()
if next_slot > now + UNUSABLE_AFTER_S + 1 / pace then
  restart()
end
if pause > 0 then
  next_slot = math.max(next_slot, now + pause)
end

local count = tonumber(ARGV[13])
for i = 14 + count, #ARGV, 2 do
  if ARGV[i + 1] == '-' then
    redis.call('ZREM', KEYS[2], ARGV[i])
  else
    redis.call('ZADD', KEYS[2], 'XX', ARGV[i + 1], ARGV[i])
  end
end

local first, delays = taken, {}
local limit = math.max(allowed, math.floor(allowed * fastest / own + 0.5))
for i = 1, count do
  local time = math.max(now + math.max(tonumber(ARGV[13 + i]), -TOLERANCE_S), next_slot)
  local latest = redis.call('ZREVRANGE', KEYS[2], limit - 1, limit - 1, 'WITHSCORES')
  if latest[2] then
    time = math.max(time, tonumber(latest[2]) + 1)
  end
  if time > now + AHEAD_S then
    break
  end
  redis.call('ZADD', KEYS[2], text(time + spread), string.format('%.0f', taken))
  taken, next_slot = taken + 1, time + 1 / pace
  delays[#delays + 1] = text(time - now)
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', text(now - 3))

local alone = math.max(math.min(tonumber(ARGV[10]), 1 - alone_of_others), 0)
local processes = {}
if ARGV[12] == '1' then
  redis.call('HDEL', KEYS[3], id)
else
  local seen = (#delays > 0 or not rows.mine) and now or rows.mine[2]
  local mine = table.concat({ARGV[7], ARGV[8], ARGV[9], ARGV[5], ARGV[6], text(alone)}, ' ')
  redis.call('HSET', KEYS[3], id, text(now) .. ' ' .. text(seen) .. ' ' .. mine)
  processes[1] = '0 ' .. mine
end
for _, row in ipairs(order) do
  processes[#processes + 1] = table.concat(
    {text(now - row[2]), row[3], row[4], row[5], row[6], row[7], row[8]}, ' ')
end
redis.call('HSET', KEYS[1], 'next', text(next_slot), 'last', text(now), 'factor', text(factor),
  'since', text(since), 'taken', string.format('%.0f', taken))
for i = 1, #KEYS do
  redis.call('EXPIRE', KEYS[i], KEPT_S)
end
return {text(now), text(pace), text(alone), string.format('%.0f', first), delays, processes}
