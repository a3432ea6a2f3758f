-- The ids of tenants and series. Registers `names`.
--
-- KEYS[1] = meta. ARGV: see `names`. Units: none. Returns: see `names`.

-- The ids of names in a hash. New names get ids in order of appearance, up to `most` names; those
-- beyond share the id of `other`. Returns {id, ...} and {index = true} of the names beyond. It
-- writes nothing. It collects new names in `fresh` ({hash = {list =, name...}}), and keeps them in
-- `scopes` for the rest of this call.
local function look_up(prefix, hash, list, names, most, other, scopes, fresh)
  local scope = scopes[hash]
  if not scope then
    scope = {free = redis.call('HLEN', prefix .. hash), new = {}}
    scopes[hash] = scope
  end
  local function id_of(name, stored)
    if stored then return tonumber(stored) end
    if scope.new[name] then return scope.new[name] end
    if scope.free >= most and name ~= other then return nil end
    local own = fresh[hash]
    if not own then
      own = {list = list}
      fresh[hash] = own
    end
    own[#own + 1] = name
    scope.new[name] = scope.free
    scope.free = scope.free + 1
    return scope.new[name]
  end
  local ids, beyond = {}, {}
  for from = 1, #names, NAMES_MAX do
    local upto = math.min(#names, from + NAMES_MAX - 1)
    local stored = redis.call('HMGET', prefix .. hash, unpack(names, from, upto))
    for index = from, upto do
      local id = id_of(names[index], stored[index - from + 1])
      if not id then
        id = id_of(other, redis.call('HGET', prefix .. hash, other))
        beyond[index] = true
      end
      ids[index] = id
    end
  end
  return ids, beyond
end

-- Writes new names behind those of their lists. Returns how many there are.
local function write_names(prefix, fresh)
  local count = 0
  for hash, own in pairs(fresh) do
    local id = redis.call('HLEN', prefix .. hash)
    for from = 1, #own, NAMES_MAX do
      local upto, pairs_ = math.min(#own, from + NAMES_MAX - 1), {}
      for index = from, upto do
        pairs_[#pairs_ + 1] = own[index]
        pairs_[#pairs_ + 1] = id
        id = id + 1
      end
      redis.call('HSET', prefix .. hash, unpack(pairs_))
      redis.call('RPUSH', prefix .. own.list, unpack(own, from, upto))
    end
    count = count + #own
  end
  return count
end

-- The ids of one tenant's series in one table, as `look_up`, within the tenant's quota; `at_least`
-- of them in any case. `used` has
-- the series of each tenant ({tenant = count}) as they will be after this call.
local function look_up_series(prefix, tenant, quota, at_least, group, scopes, fresh, used)
  local table_id, _, most, other, wanted = unpack(group)
  local scope = table_id .. '.' .. tenant
  local hash = 'n' .. scope
  local before = scopes[hash] and scopes[hash].free or redis.call('HLEN', prefix .. hash)
  used[tenant] = used[tenant] or tonumber(redis.call('HGET', prefix .. 'q.series', tenant) or 0)
  local room = math.max(0, quota - used[tenant])
  local ids, beyond = look_up(prefix, hash, 'l' .. scope, wanted,
    math.min(most, math.max(before + room, at_least)), other, scopes, fresh)
  used[tenant] = used[tenant] + scopes[hash].free - before
  return ids, beyond
end

-- names KEYS[1] = meta; ARGV = generation digest, commit id, control (JSON): partitions and
-- at_commits as in commit, secret as in commit, epoch (proposed, for a server that has none),
-- tenants {name}, tenants_max, other (a tenant's name), tenant_series {quota of each tenant, in all
-- tables}, table_series_min (which each table may have beyond the quota, besides that of `other`),
-- series {{table, tenant index, series_max, name of the other, {name}}}. Gives ids to names that have none, before the commit that
-- counts them. If that commit never comes, a name without counters stays.
-- Returns {'named', epoch, names of the generation, id...} of the tenants, then of the series, with
-- -1 - id for those beyond their limit; or a reply as of commit.
local function names(keys, args)
  local prefix, control, meta = prefix_of(keys[1]), cjson.decode(args[3]), read_meta(keys[1])
  local refusal = refused(prefix, meta, args, control)
  if refusal then return refusal end
  local scopes, fresh, out = {}, {}, {'named', epoch_of(meta, control.epoch), 0}
  local function note(ids, is_beyond)
    for index, id in ipairs(ids) do out[#out + 1] = is_beyond[index] and -1 - id or id end
  end
  local tenants, beyond = look_up(prefix, 't', 'tl', control.tenants, control.tenants_max,
    control.other, scopes, fresh)
  note(tenants, beyond)
  local used = {}
  for _, group in ipairs(control.series) do
    local tenant, quota = text_of(tenants[group[2] + 1]), control.tenant_series[group[2] + 1]
    local at_least = control.table_series_min
    note(look_up_series(prefix, tenant, quota, at_least, group, scopes, fresh, used))
  end
  local count = write_names(prefix, fresh)
  if count > 0 then
    for tenant, series in pairs(used) do redis.call('HSET', prefix .. 'q.series', tenant, series) end
    meta.names = meta.names + count
    write_meta(keys[1], meta)
  end
  out[3] = meta.names
  return out
end

redis.register_function('odometer_names_@VERSION@', names)
