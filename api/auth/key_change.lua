-- Changes API keys and adds the audit lines: all of it, or nothing.
--
-- KEYS  1 hash: hex SHA-256 -> record   2 hash: hex SHA-256 -> last use   3 stream: audit lines
-- ARGV  1 records kept at most          2 audit lines kept at most        3 number of changes N
--       then N times: hex SHA-256, the record that the caller has read ("" for none), the new
--       record ("" to remove it)
--       then the audit lines, JSON
-- Returns "done"; "changed" if a record is not the one that the caller has read, "full" if there
-- would be too many records. In both cases nothing is written.

local changes = tonumber(ARGV[3])
local more = 0
for at = 4, 1 + 3 * changes, 3 do
  local current = redis.call('HGET', KEYS[1], ARGV[at]) or ''
  if current ~= ARGV[at + 1] then
    return 'changed'
  end
  more = more + (ARGV[at + 2] ~= '' and 1 or 0) - (current ~= '' and 1 or 0)
end
if more > 0 and redis.call('HLEN', KEYS[1]) + more > tonumber(ARGV[1]) then
  return 'full'
end
for at = 4, 1 + 3 * changes, 3 do
  if ARGV[at + 2] ~= '' then
    redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 2])
  else
    redis.call('HDEL', KEYS[1], ARGV[at])
    redis.call('HDEL', KEYS[2], ARGV[at])
  end
end
for at = 4 + 3 * changes, #ARGV do
  redis.call('XADD', KEYS[3], 'MAXLEN', ARGV[2], '*', 'line', ARGV[at])
end
return 'done'
