-- The writes of the directory: who users are, groups, titles of chats. schemas/store/directory.py describes
-- the keys, the records and the rule that the larger mark wins; the commit of the counters writes
-- users with the first three functions, and a library of its own carries the others.
--
-- An error inside a script is not rolled back, so each function checks everything, then writes.

local PERSON = '<i8i8i8i8I2c0I2c0'
local GROUP_HEAD = '<i8i8i8'
local GROUP_HEAD_BYTES = 24
local MARK = '<i8'
local AT_ONCE = 1000 -- arguments of one command: Lua's stack holds 8,000

-- Whether text a comes after b, byte by byte: Lua's own comparison follows the server's locale.
local function comes_after(a, b)
  for at = 1, math.min(#a, #b) do
    local x, y = string.byte(a, at), string.byte(b, at)
    if x ~= y then return x > y end
  end
  return #a > #b
end

-- A user's record with one more update about it, and the address before and after. What stands there
-- and is no record counts as nothing known.
local function heard(record, update, is_last)
  local _, first, last, email_mark, email, name_mark, name = unpack(update)
  local whole, f, l, em, nm, e, n = pcall(struct.unpack, PERSON, record or '')
  if not whole then
    return struct.pack(PERSON, first, last, email_mark, name_mark, #email, email, #name, name),
      '', email
  end
  if is_last and email_mark > 0 then email_mark = math.max(email_mark, em + 1) end
  if is_last and name_mark > 0 then name_mark = math.max(name_mark, nm + 1) end
  if em > email_mark or (em == email_mark and comes_after(e, email)) then
    email_mark, email = em, e
  end
  if nm > name_mark or (nm == name_mark and comes_after(n, name)) then name_mark, name = nm, n end
  return struct.pack(PERSON, math.min(first, f), math.max(last, l), email_mark, name_mark, #email,
    email, #name, name), e, email
end

-- What these words {{key, first_ms, last_ms, email_mark, email, name_mark, name}} (each user once)
-- make of a tenant's users: {users key, addresses key, user key, record, address before, after, ...}
-- is appended to `writes`. Returns how many had no room. Nothing is written.
local function plan_people(users, addresses, words, users_max, is_last, writes)
  local size, turned_away, count = #writes, 0, nil
  for from = 1, #words, AT_ONCE do
    local keys = {}
    for index = from, math.min(from + AT_ONCE - 1, #words) do keys[#keys + 1] = words[index][1] end
    for index, known in ipairs(redis.call('HMGET', users, unpack(keys))) do
      if not known then count = (count or redis.call('HLEN', users)) + 1 end
      if not known and count > users_max then
        turned_away = turned_away + 1
      else
        local record, before, after = heard(known, words[from + index - 1], is_last)
        if record ~= known then
          writes[size + 1], writes[size + 2], writes[size + 3], writes[size + 4], writes[size + 5],
            writes[size + 6] = users, addresses, keys[index], record, before, after
          size = size + 6
        end
      end
    end
  end
  return turned_away
end

local function write_people(writes)
  for at = 1, #writes, 6 do
    local users, addresses, key, record, before, after = unpack(writes, at, at + 5)
    redis.call('HSET', users, key, record)
    if before ~= after then
      if before ~= '' then redis.call('ZREM', addresses, before .. '\0' .. key) end
      if after ~= '' then redis.call('ZADD', addresses, 0, after .. '\0' .. key) end
    end
  end
end

-- users KEYS = users, addresses; ARGV = JSON of the words, users_max, "1" where these are the last
-- words whatever the marks that are stored. Returns {written, turned away for want of room}.
local function users(keys, args)
  local writes = {}
  local turned_away = plan_people(
    keys[1], keys[2], cjson.decode(args[1]), tonumber(args[2]), args[3] == '1', writes)
  write_people(writes)
  return {#writes / 6, turned_away}
end

-- group KEYS = groups, members; ARGV = JSON {id, mark, at_ms, is_last, is_new (it may be made),
-- is_first (there must be none), is_deleted, text (JSON of name and description) or null, members or null (all of them), add,
-- remove, groups_max, members_max}.
-- Returns 'done' | 'stale' (a later update is known) | 'unknown' | 'exists' | 'groups' | 'members' (over the
-- limit); in all but the first nothing was written.
local function group(keys, args)
  local said = cjson.decode(args[1])
  local stored = redis.call('HGET', keys[1], said.id)
  local mark, created, text = said.mark, said.at_ms, nil
  if stored then
    local stored_mark
    stored_mark, created = struct.unpack(GROUP_HEAD, stored)
    text = #stored > GROUP_HEAD_BYTES and string.sub(stored, GROUP_HEAD_BYTES + 1) or nil
    if said.is_last then mark = math.max(mark, stored_mark + 1) end
    if mark < stored_mark then return 'stale' end
  end
  if not text then created = said.at_ms end
  if said.is_deleted then
    if not stored then return 'unknown' end
    redis.call('HSET', keys[1], said.id, struct.pack(GROUP_HEAD, mark, created, said.at_ms))
    redis.call('UNLINK', keys[2])
    return 'done'
  end
  if not text and not said.is_new then return 'unknown' end
  if text and said.is_first then return 'exists' end
  if not stored and redis.call('HLEN', keys[1]) >= said.groups_max then return 'groups' end
  local count = said.members ~= cjson.null and #said.members or redis.call('SCARD', keys[2])
  if #said.add > 0 then
    for _, is_member in ipairs(redis.call('SMISMEMBER', keys[2], unpack(said.add))) do
      count = count + 1 - is_member
    end
  end
  if count > said.members_max then return 'members' end

  if said.text ~= cjson.null then text = said.text end
  redis.call('HSET', keys[1], said.id,
    struct.pack(GROUP_HEAD, mark, created, said.at_ms) .. text)
  if said.members ~= cjson.null then
    redis.call('UNLINK', keys[2])
    for from = 1, #said.members, AT_ONCE do
      redis.call('SADD', keys[2],
        unpack(said.members, from, math.min(from + AT_ONCE - 1, #said.members)))
    end
  end
  if #said.add > 0 then redis.call('SADD', keys[2], unpack(said.add)) end
  if #said.remove > 0 then redis.call('SREM', keys[2], unpack(said.remove)) end
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
