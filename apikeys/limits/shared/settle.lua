-- What a permit used is spent, and what it did not use is given back.
-- ARGV: now, permit, tokens used, money used, tokens to take out of each bucket (negative: given back),
--       seconds to keep what is spent, how many buckets and holds; then RATE PERIOD of each bucket
-- KEYS: of the buckets; of the holds; of what is spent

local buckets, holds = tonumber(ARGV[7]), tonumber(ARGV[8])
for i = 1, buckets do
  local rate, period = tonumber(ARGV[7 + 2 * i]), tonumber(ARGV[8 + 2 * i])
  set_missing(KEYS[i], missing_of(KEYS[i], rate) + ARGV[5] * period, rate)
end
for i = buckets + 1, buckets + holds do
  redis.call('HDEL', KEYS[i], ARGV[2])
end
for i = buckets + holds + 1, #KEYS do
  redis.call('HINCRBY', KEYS[i], 'tokens', ARGV[3])
  redis.call('HINCRBY', KEYS[i], 'money', ARGV[4])
  redis.call('EXPIRE', KEYS[i], ARGV[6])
end
