-- What the scripts have in common; store.py puts it before each of them.
-- Time is in microseconds, and a bucket's parts are those of a microsecond: whole numbers that a double
-- holds exactly, for limits of up to 150 million a minute. ARGV[1] is the time in tests, else empty.

local function now_of()
  if ARGV[1] ~= '' then return tonumber(ARGV[1]) end
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local now = now_of()

-- Lua would write a large number as 1e+15.
local function whole(number) return string.format('%.0f', number) end

-- The parts that a bucket is short of now. Kept as "MISSING:AT".
local function missing_of(key, rate)
  local kept = redis.call('GET', key)
  if not kept then return 0 end
  local missing, at = kept:match('(%d+):(%d+)')
  return math.max(0, missing - math.max(0, now - at) * rate)
end

-- A full bucket is the same as none: it goes by itself, a minute after it was full.
local function set_missing(key, missing, rate)
  if missing <= 0 then
    redis.call('DEL', key)
  else
    redis.call('SET', key, whole(missing) .. ':' .. whole(now), 'PX', whole(math.ceil(missing / rate / 1000) + 60000))
  end
end
