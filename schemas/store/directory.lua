-- The functions that write the directory: users, groups and titles of chats.
-- schemas/store/directory.py describes the keys, the records, and the rule that the larger mark wins.
-- This file is a library of its own. It is also part of the commit's library, which writes users with
-- plan_users and write_users.
--
-- Redis does not roll back a script that fails. So each function checks everything before it writes.

local USER = '<i8i8i8i8I2c0I2c0'
local GROUP_HEAD = '<i8i8i8'
local GROUP_HEAD_BYTES = 24
local MARK = '<i8'
local HOUR_S = 3600
local AT_ONCE = 1000 -- arguments of one command: Lua's stack holds 8,000

-- Whether text a comes after b, byte by byte: Lua's own comparison follows the server's locale.
local function comes_after(a, b)
  for at = 1, math.min(#a, #b) do
    local x, y = string.byte(a, at), string.byte(b, at)
    if x ~= y then return x > y end
  end
  return #a > #b
end

-- Returns a user's record after an update, and the address before and after. A stored value that is
-- no record counts as none.
local function updated(record, update, is_last)
  local _, first, last, email_mark, email, name_mark, name = unpack(update)
  local whole, f, l, em, nm, e, n = pcall(struct.unpack, USER, record or '')
  if not whole then
    return struct.pack(USER, first, last, email_mark, name_mark, #email, email, #name, name),
      '', email
  end
  if is_last and email_mark > 0 then email_mark = math.max(email_mark, em + 1) end
  if is_last and name_mark > 0 then name_mark = math.max(name_mark, nm + 1) end
  if em > email_mark or (em == email_mark and comes_after(e, email)) then
    email_mark, email = em, e
  end
  if nm > name_mark or (nm == name_mark and comes_after(n, name)) then name_mark, name = nm, n end
  return struct.pack(USER, math.min(first, f), math.max(last, l), email_mark, name_mark, #email,
    email, #name, name), e, email
end

-- Plans the writes of updates {{key, first_ms, last_ms, email_mark, email, name_mark, name}, ...} of a
-- tenant's users, one update a user. Appends to `writes`: users key, addresses key, user key, record,
-- address before, address after, ... Returns how many updates were rejected because of users_max.
-- Writes nothing to Redis.
local function plan_users(users, addresses, updates, users_max, is_last, writes)
  local size, rejected, count = #writes, 0, nil
  for from = 1, #updates, AT_ONCE do
    local keys = {}
    for index = from, math.min(from + AT_ONCE - 1, #updates) do keys[#keys + 1] = updates[index][1] end
    for index, known in ipairs(redis.call('HMGET', users, unpack(keys))) do
      if not known then count = (count or redis.call('HLEN', users)) + 1 end
      if not known and count > users_max then
        rejected = rejected + 1
      else
        local record, before, after = updated(known, updates[from + index - 1], is_last)
        if record ~= known then
          writes[size + 1], writes[size + 2], writes[size + 3], writes[size + 4], writes[size + 5],
            writes[size + 6] = users, addresses, keys[index], record, before, after
          size = size + 6
        end
      end
    end
  end
  return rejected
end

local function write_users(writes)
  for at = 1, #writes, 6 do
    local users, addresses, key, record, before, after = unpack(writes, at, at + 5)
    redis.call('HSET', users, key, record)
    if before ~= after then
      if before ~= '' then redis.call('ZREM', addresses, before .. '\0' .. key) end
      if after ~= '' then redis.call('ZADD', addresses, 0, after .. '\0' .. key) end
    end
  end
end

-- users KEYS = users, addresses; ARGV = JSON of the updates, users_max, "1" if they must win over any
-- stored mark. Returns {written, rejected because of users_max}.
local function users(keys, args)
  local writes = {}
  local rejected = plan_users(
    keys[1], keys[2], cjson.decode(args[1]), tonumber(args[2]), args[3] == '1', writes)
  write_users(writes)
  return {#writes / 6, rejected}
end

-- Members of all groups of a tenant; `head` and a group's id are the key of its members. Counting those
-- of 2,000 groups takes some milliseconds, so `total` keeps the count for an hour. Then it is counted
-- again: a process of an older version changes groups, but not the count.
local function members_of_all(groups, head, total)
  local stored = redis.call('GET', total)
  if stored then return tonumber(stored) end
  local count = 0
  for _, id in ipairs(redis.call('HKEYS', groups)) do
    count = count + redis.call('SCARD', head .. id)
  end
  redis.call('SET', total, count, 'EX', HOUR_S)
  return count
end

-- Counts how many members a group has more than `before`, if the total is stored.
local function count_change(members, before, total)
  local change = redis.call('SCARD', members) - before
  if change ~= 0 and redis.call('EXISTS', total) == 1 then redis.call('INCRBY', total, change) end
end

-- group KEYS = groups, members, total of members; ARGV = JSON {id, mark, at_ms, is_last (it must win over any stored
-- mark), is_new (the group may be created), is_first (it must not exist yet), is_deleted, text (JSON of
-- name and description) or null, members (all of them) or null, add, remove, groups_max, members_max,
-- tenant_members_max}. Returns 'done', else why nothing was written: 'stale' (a later update is
-- stored), 'unknown', 'exists', 'groups', 'members' or 'tenant_members' (over that limit). An update
-- that adds no member is never over the last one.
local function group(keys, args)
  local update = cjson.decode(args[1])
  local stored = redis.call('HGET', keys[1], update.id)
  local mark, created, text = update.mark, update.at_ms, nil
  if stored then
    local stored_mark
    stored_mark, created = struct.unpack(GROUP_HEAD, stored)
    text = #stored > GROUP_HEAD_BYTES and string.sub(stored, GROUP_HEAD_BYTES + 1) or nil
    if update.is_last then mark = math.max(mark, stored_mark + 1) end
    if mark < stored_mark then return 'stale' end
  end
  if not text then created = update.at_ms end
  local before = redis.call('SCARD', keys[2])
  if update.is_deleted then
    if not stored then return 'unknown' end
    redis.call('HSET', keys[1], update.id, struct.pack(GROUP_HEAD, mark, created, update.at_ms))
    redis.call('UNLINK', keys[2])
    count_change(keys[2], before, keys[3])
    return 'done'
  end
  if not text and not update.is_new then return 'unknown' end
  if text and update.is_first then return 'exists' end
  if not stored and redis.call('HLEN', keys[1]) >= update.groups_max then return 'groups' end
  local count = update.members ~= cjson.null and #update.members or before
  if #update.add > 0 then
    for _, is_member in ipairs(redis.call('SMISMEMBER', keys[2], unpack(update.add))) do
      count = count + 1 - is_member
    end
  end
  if count > update.members_max then return 'members' end
  if count > before then
    local head = string.sub(keys[2], 1, #keys[2] - #update.id)
    if members_of_all(keys[1], head, keys[3]) + count - before > update.tenant_members_max then
      return 'tenant_members'
    end
  end

  if update.text ~= cjson.null then text = update.text end
  redis.call('HSET', keys[1], update.id,
    struct.pack(GROUP_HEAD, mark, created, update.at_ms) .. text)
  if update.members ~= cjson.null then
    redis.call('UNLINK', keys[2])
    for from = 1, #update.members, AT_ONCE do
      redis.call('SADD', keys[2],
        unpack(update.members, from, math.min(from + AT_ONCE - 1, #update.members)))
    end
  end
  if #update.add > 0 then redis.call('SADD', keys[2], unpack(update.add)) end
  if #update.remove > 0 then redis.call('SREM', keys[2], unpack(update.remove)) end
  count_change(keys[2], before, keys[3])
  return 'done'
end

-- chat KEYS[1] = chats; ARGV = id, mark, title ("" deletes), chats_max.
-- Returns 'done' | 'stale' | 'chats' (over the limit).
local function chat(keys, args)
  local stored = redis.call('HGET', keys[1], args[1])
  if stored and struct.unpack(MARK, stored) > tonumber(args[2]) then return 'stale' end
  if not stored then
    if args[3] == '' then return 'done' end
    if redis.call('HLEN', keys[1]) >= tonumber(args[4]) then return 'chats' end
  end
  redis.call('HSET', keys[1], args[1], struct.pack(MARK, tonumber(args[2])) .. args[3])
  return 'done'
end
