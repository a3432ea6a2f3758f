-- Writes the counters of usage, if nobody else has had the turn since they were read.
--
-- KEYS[1]  hash: series -> seen and shown
-- KEYS[2]  whose turn it is
-- ARGV[1]  token of the turn
-- ARGV[2]  ms until the next turn
-- ARGV[3], ARGV[4], ...  fields of the hash, and their texts
--
-- Returns 1 if they were written, 0 if the turn is over.

if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
for at = 3, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 1
