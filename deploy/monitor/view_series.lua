-- How many series the tables of some tenants have. It writes nothing.
--
-- KEYS[1]  list of the tenants; the lists of their series begin with its prefix
-- ARGV[1]  id of the first tenant
-- ARGV[2]  id of the last one
-- ARGV[3], ARGV[4], ...  ids of the tables
--
-- Returns {number of all tenants, series of the first table, of the second, ...}.

local prefix = string.sub(KEYS[1], 1, -3)
local tenants = redis.call('LLEN', KEYS[1])
local out = {tenants}
for at = 3, #ARGV do
  local count = 0
  for tenant = tonumber(ARGV[1]), math.min(tonumber(ARGV[2]), tenants - 1) do
    count = count + redis.call('LLEN', prefix .. 'l' .. ARGV[at] .. '.' .. string.format('%d', tenant))
  end
  out[at - 1] = count
end
return out
