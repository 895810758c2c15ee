-- Everything that a Demand asks for is taken, or nothing is. Answers what was found before.
-- ARGV: now, permit, lease (µs), amount, hold of tokens and of money (empty: none), how many buckets, places
--       and budgets; then RATE PERIOD BURST of each bucket, LIMIT of each place, KIND LIMIT of each budget
-- KEYS: of the buckets; of the places; of each budget what is spent, and what its owner holds

local permit, lease, amount = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local holds = ARGV[5] ~= ''
local hold = {tokens = tonumber(ARGV[5]), money = tonumber(ARGV[6])}
local buckets, places, budgets = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local at = 9 -- the last argument that was read
local passed, found, levels = true, {}, {}

local function held_by(key)
  local held = {tokens = 0, money = 0}
  local entries = redis.call('HGETALL', key)
  for i = 1, #entries, 2 do
    local ends, tokens, money = entries[i + 1]:match('(%d+):(%d+):(%d+)')
    if tonumber(ends) <= now then -- its server has not been heard of
      redis.call('HDEL', key, entries[i])
    else
      held.tokens, held.money = held.tokens + tokens, held.money + money
    end
  end
  return held
end

for i = 1, buckets do
  local rate, period, burst = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local missing = missing_of(KEYS[i], rate)
  found[#found + 1], levels[i] = whole(missing), missing
  passed = passed and missing + amount * period <= burst * period
  at = at + 3
end
for i = 1, places do
  local key = KEYS[buckets + i]
  redis.call('ZREMRANGEBYSCORE', key, '-inf', whole(now))
  local running = redis.call('ZCARD', key)
  found[#found + 1] = whole(running)
  passed = passed and running < tonumber(ARGV[at + 1])
  at = at + 1
end
for i = 1, budgets do
  local key = buckets + places + 2 * i - 1
  local kind, limit = ARGV[at + 1], tonumber(ARGV[at + 2])
  local spent = tonumber(redis.call('HGET', KEYS[key], kind) or 0)
  local held = held_by(KEYS[key + 1])[kind]
  found[#found + 1] = whole(spent)
  found[#found + 1] = whole(held)
  if holds then
    passed = passed and spent + held + hold[kind] <= limit
  else
    passed = passed and spent < limit
  end
  at = at + 2
end

if passed then
  local argument = 9
  for i = 1, buckets do
    local rate, period = tonumber(ARGV[argument + 1]), tonumber(ARGV[argument + 2])
    set_missing(KEYS[i], levels[i] + amount * period, rate)
    argument = argument + 3
  end
  for i = buckets + 1, buckets + places do
    redis.call('ZADD', KEYS[i], whole(now + lease), permit)
    redis.call('PEXPIRE', KEYS[i], whole(lease / 1000))
  end
  for i = buckets + places + 2, holds and #KEYS or 0, 2 do
    redis.call('HSET', KEYS[i], permit, whole(now + lease) .. ':' .. ARGV[5] .. ':' .. ARGV[6])
    redis.call('PEXPIRE', KEYS[i], whole(lease / 1000))
  end
end
table.insert(found, 1, passed and 1 or 0)
return found
