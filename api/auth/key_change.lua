-- Changes API keys and adds the audit lines: all of it, or nothing.
--
-- KEYS  1 hash: hex SHA-256 -> record   2 hash: hex SHA-256 -> last use
--       3 hash: tenant -> changes that created keys of it
--       4 text: the latest creation of all removed records, ms
--       5 sorted set: tenant -> time of its latest audit line, ms
--       6 stream: audit lines about keys of all tenants
--       7... streams: audit lines about keys of one tenant each
-- ARGV  1 records kept at most (0: no limit)    2 the latest creation of the records to remove, ms
--       3 lines that stream 6 keeps at most     4 lines that each other stream keeps at most
--       5 number of changes N   6 number of tenants T that get more keys
--       then N times: hex SHA-256, the record that the caller has read ("" for none), the new
--       record ("" to remove it)
--       then T times: tenant, the number in 3 that the caller has read ("" for none)
--       then per audit line: the places of its streams in KEYS, as "7,8", and the line, JSON
--       The tenants of streams 7... are the ends of their names, behind "api-key-audit-of."
-- Returns "done"; "changed" if a record or a number is not the one that the caller has read, "full"
-- if there would be too many records. In both cases nothing is written.

local PREFIX = 'api-key-audit-of.'
local records_max = tonumber(ARGV[1])
local upto = 6 + 3 * ARGV[5]
local lines_from = upto + 2 * ARGV[6] + 1
local more = 0
for at = 7, upto, 3 do
  local current = redis.call('HGET', KEYS[1], ARGV[at]) or ''
  if current ~= ARGV[at + 1] then
    return 'changed'
  end
  more = more + (ARGV[at + 2] ~= '' and 1 or 0) - (current ~= '' and 1 or 0)
end
for at = upto + 1, lines_from - 1, 2 do
  if (redis.call('HGET', KEYS[3], ARGV[at]) or '') ~= ARGV[at + 1] then
    return 'changed'
  end
end
if more > 0 and records_max > 0 and redis.call('HLEN', KEYS[1]) + more > records_max then
  return 'full'
end
for at = 7, upto, 3 do
  if ARGV[at + 2] ~= '' then
    redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 2])
  else
    redis.call('HDEL', KEYS[1], ARGV[at])
    redis.call('HDEL', KEYS[2], ARGV[at])
  end
end
for at = upto + 1, lines_from - 1, 2 do
  redis.call('HINCRBY', KEYS[3], ARGV[at], 1)
end
if tonumber(ARGV[2]) > tonumber(redis.call('GET', KEYS[4]) or '0') then
  redis.call('SET', KEYS[4], ARGV[2])
end
for at = lines_from, #ARGV, 2 do
  for place in string.gmatch(ARGV[at], '%d+') do
    local stream = KEYS[tonumber(place)]
    local most = place == '6' and ARGV[3] or ARGV[4]
    local id = redis.call('XADD', stream, 'MAXLEN', most, '*', 'line', ARGV[at + 1])
    if place ~= '6' then
      local _, tenant_from = string.find(stream, PREFIX, 1, true)
      redis.call('ZADD', KEYS[5], string.match(id, '^%d+'), string.sub(stream, tenant_from + 1))
    end
  end
end
return 'done'
