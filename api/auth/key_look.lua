-- Looks up an API key: returns its record and what is left of its limit, and notes its use.
--
-- KEYS  1 hash: hex SHA-256 -> record, JSON (schemas/store/keys.py)
--       2 hash: hex SHA-256 -> last use, ms since 1970, of whole minutes
--       3 text of this key's limit: "LEVEL AT_MS", requests left at that time
-- ARGV  1 the hex SHA-256
--       2 requests that the calling process has allowed since its last look-up
-- Returns {record, level}: level in thousandths of a request, nil if there is no limit or it
-- could not be written. Returns nil if there is no such key.
--
-- The answer does not depend on what is written here. A full Redis, or one that is a replica for
-- a while, rejects the writes, and the record is read all the same. That is why this script has no
-- shebang line (with one, Redis would reject the whole script) and writes through pcall.

local record = redis.call('HGET', KEYS[1], ARGV[1])
if not record then
  return false
end
local key = cjson.decode(record)
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local function is_set(value)
  return value and value ~= cjson.null
end

local minute = string.format('%.0f', now_ms - now_ms % 60000)
local is_over = is_set(key['revoked_ms'])
  or is_set(key['expires_ms']) and key['expires_ms'] <= now_ms
if not is_over and redis.call('HGET', KEYS[2], ARGV[1]) ~= minute then
  redis.pcall('HSET', KEYS[2], ARGV[1], minute)
end

local rate = key['requests_per_s']
if not is_set(rate) then
  return {record}
end
rate = math.max(rate, 1e-5)  -- REQUESTS_PER_S_MIN: full_in_ms below must be a finite number
local burst = key['burst']
if not is_set(burst) then
  burst = math.max(1, math.ceil(rate))
end
local level, at_ms = burst, now_ms
local kept = redis.call('GET', KEYS[3])
if kept then
  local kept_level, kept_at_ms = string.match(kept, '^(%S+) (%d+)$')
  level, at_ms = tonumber(kept_level), math.min(tonumber(kept_at_ms), now_ms)
end
-- Subtract the allowed requests before refilling: they happened within that time.
level = math.min(burst, level - ARGV[2] + (now_ms - at_ms) * rate / 1000)
local full_in_ms = math.ceil((burst - level) / rate * 1000)
local written = redis.pcall('SET', KEYS[3], string.format('%.3f %.0f', level, now_ms),
  'PX', full_in_ms + 60000)
if written['err'] then
  return {record}
end
return {record, math.floor(level * 1000)}
