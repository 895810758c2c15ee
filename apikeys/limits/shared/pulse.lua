-- A server lives, and so do its permits. Answers how many servers live.
-- ARGV: now, server, how long it counts as alive (µs), lease (µs), how many places; then PERMIT of each place,
--       PERMIT TOKENS:MONEY of each hold
-- KEYS: the servers; of each place, of each hold

local lease, places = tonumber(ARGV[4]), tonumber(ARGV[5])
local ends = whole(now + lease)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now))
redis.call('ZADD', KEYS[1], whole(now + ARGV[3]), ARGV[2])
for i = 1, places do
  redis.call('ZADD', KEYS[1 + i], ends, ARGV[5 + i])
  redis.call('PEXPIRE', KEYS[1 + i], whole(lease / 1000))
end
local at = 5 + places
for i = 2 + places, #KEYS do
  redis.call('HSET', KEYS[i], ARGV[at + 1], ends .. ':' .. ARGV[at + 2])
  redis.call('PEXPIRE', KEYS[i], whole(lease / 1000))
  at = at + 2
end
return redis.call('ZCARD', KEYS[1])
