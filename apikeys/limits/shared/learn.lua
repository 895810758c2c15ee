-- At least so much was spent.
-- ARGV: now, tokens, money, seconds to keep it.  KEYS: of what is spent

for i, kind in ipairs({'tokens', 'money'}) do
  local said = ARGV[1 + i]
  if tonumber(said) > tonumber(redis.call('HGET', KEYS[1], kind) or 0) then
    redis.call('HSET', KEYS[1], kind, said)
  end
end
redis.call('EXPIRE', KEYS[1], ARGV[4])
