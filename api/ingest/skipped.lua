-- Counts usage that was not counted, by reason. What is stored is bounded, for any number of tenants,
-- requests and restarts.
--
-- KEYS  1 hash: reason -> parts of requests
--       2 hash: tenant -> how many of these reasons it was the first to have
-- ARGV  1 reasons of all tenants that are stored apart; the others are one
--       2 of them, those of one tenant
--       3 the reason that all others count as
--       4... triples: tenant, reason, parts

local reasons = redis.call('HLEN', KEYS[1]) - redis.call('HEXISTS', KEYS[1], ARGV[3])
for at = 4, #ARGV, 3 do
  local tenant, reason = ARGV[at], ARGV[at + 1]
  if reason ~= ARGV[3] and redis.call('HEXISTS', KEYS[1], reason) == 0 then
    local own = tonumber(redis.call('HGET', KEYS[2], tenant) or 0)
    if reasons >= tonumber(ARGV[1]) or own >= tonumber(ARGV[2]) then
      reason = ARGV[3]
    else
      redis.call('HINCRBY', KEYS[2], tenant, 1)
      reasons = reasons + 1
    end
  end
  redis.call('HINCRBY', KEYS[1], reason, ARGV[at + 2])
end
