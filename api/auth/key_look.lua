-- Looks up an API key: returns its record and what is left of its limits, and notes its use.
--
-- KEYS  1 hash: hex SHA-256 -> record, JSON (schemas/store/keys.py)
--       2 hash: hex SHA-256 -> last use, ms since 1970, of whole minutes
-- ARGV  1 the hex SHA-256
--       2 beginning of the names of limits, with the hash tag of KEYS; the id of a limit follows.
--         A limit is the text "LEVEL AT_MS": requests left at that time
--       3... pairs: id of a limit, requests that the calling process has allowed since it last said
-- Returns {record, levels}: what is left of the key's own limit and then of the one that it shares, as
-- far as it has them (`Key.limits`), in thousandths of a request; nil for one that could not be
-- written. Returns nil if there is no such key.
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

local allowed = {}
for at = 3, #ARGV, 2 do
  allowed[ARGV[at]] = tonumber(ARGV[at + 1])
end

-- What is left of a limit, in thousandths, or false.
local function level_of(id, rate, burst)
  rate = math.max(rate, 1e-5)  -- REQUESTS_PER_S_MIN: full_in_ms below must be a finite number
  if not is_set(burst) then
    burst = math.max(1, math.ceil(rate))
  end
  local level, at_ms = burst, now_ms
  local kept = redis.call('GET', ARGV[2] .. id)
  if kept then
    local kept_level, kept_at_ms = string.match(kept, '^(%S+) (%d+)$')
    level, at_ms = tonumber(kept_level), math.min(tonumber(kept_at_ms), now_ms)
  end
  -- Subtract the allowed requests before refilling: they happened within that time.
  level = math.min(burst, level - (allowed[id] or 0) + (now_ms - at_ms) * rate / 1000)
  local full_in_ms = math.ceil((burst - level) / rate * 1000)
  local written = redis.pcall('SET', ARGV[2] .. id, string.format('%.3f %.0f', level, now_ms),
    'PX', full_in_ms + 60000)
  return not written['err'] and math.floor(level * 1000)
end

local levels = {}
if is_set(key['requests_per_s']) then
  levels[#levels + 1] = level_of(key['id'], key['requests_per_s'], key['burst'])
end
local shared = key['shared_limit']
if is_set(shared) then
  levels[#levels + 1] = level_of(shared['id'], shared['requests_per_s'], shared['burst'])
end
return {record, levels}
