#!lua name=confab_stream_1
-- The writing half of package redisstore. Every function works on one stream,
-- whose keys all hash to one slot:
--
--   s  hash: seq, bytes (of all bodies ever), base, basebytes, trimmed, settings,
--      born (which making of the stream this is), hseq and hhash (the chain's
--      hash up to there), age (of the newest d), and for each reader its cursor
--      under "c" .. reader
--   e  Redis stream: entry n has the id n-0; field m is what the writer packed:
--      message id (16), SHA-256 of the body (32), the time it came (8, big-endian)
--      and the body; field o is how many bytes all bodies up to it have
--   d  hashes, one for each age: message id to 16 bytes of the sum and the seq
--
-- Numbers are doubles here, exact up to 2^53.

local function text(n) return string.format('%.0f', n) end

local function id(n) return text(n) .. '-0' end

local head = 16 + 32 + 8 -- of what is packed, before the body

-- An entry's fields, as XRANGE gives them: m, its value, o, its value.
local function packed(entry) return entry[2][2] end

local function total(entry) return entry[2][4] end

local function stamp(entry)
  local n = 0
  for _, digit in ipairs({ packed(entry):byte(49, 56) }) do n = n * 256 + digit end
  return n
end

-- rebase moves the beginning up to an entry, and says where it is.
local function rebase(keys, seq)
  local s = redis.call('HMGET', keys[1], 'base', 'seq', 'bytes')
  local base = tonumber(s[1])
  if seq <= base then return base end
  local bytes = s[3]
  if seq < tonumber(s[2]) then
    bytes = total(redis.call('XRANGE', keys[2], id(seq), id(seq))[1])
  end
  redis.call('HSET', keys[1], 'base', text(seq), 'basebytes', bytes)
  return seq
end

-- least returns up to where all readers have acknowledged; 0 if there are none.
local function least(key, readers, seq)
  if #readers == 0 then return 0 end
  for i = 1, #readers, 32 do
    seq = math.min(seq, tonumber(redis.call('HGET', key, 'c' .. readers:sub(i, i + 31))))
  end
  return seq
end

-- append: keys s, e, d of this age, and d of the last if there was one;
-- args what is packed, expected seq or "", channel, age, life of d in seconds.
local function append(keys, args)
  local s = redis.call('HMGET', keys[1], 'seq', 'bytes', 'base', 'basebytes', 'maxn', 'maxb', 'age')
  if not s[1] then return { 'missing' } end
  local message, sum = args[1]:sub(1, 16), args[1]:sub(17, 32)
  local seq, bytes = tonumber(s[1]) + 1, tonumber(s[2]) + #args[1] - head
  local next = text(seq)
  local known = keys[4] and redis.call('HGET', keys[4], message)
  if not known and redis.call('HSETNX', keys[3], message, sum .. next) == 0 then
    known = redis.call('HGET', keys[3], message)
  end
  if known then
    if known:sub(1, 16) ~= sum then return { 'reused' } end
    return { 'again', known:sub(17) }
  end
  local refused
  if args[2] ~= '' and args[2] ~= s[1] then
    refused = 'head'
  else
    local maxn, maxb = tonumber(s[5]), tonumber(s[6])
    if (maxn > 0 and seq - tonumber(s[3]) > maxn) or (maxb > 0 and bytes - tonumber(s[4]) > maxb) then
      refused = 'full'
    end
  end
  if refused then
    redis.call('HDEL', keys[3], message)
    return { refused }
  end
  bytes = text(bytes)
  redis.call('XADD', keys[2], next .. '-0', 'm', args[1], 'o', bytes)
  if s[7] == args[4] then
    redis.call('HSET', keys[1], 'seq', next, 'bytes', bytes)
  else
    redis.call('HSET', keys[1], 'seq', next, 'bytes', bytes, 'age', args[4])
    redis.call('EXPIRE', keys[3], args[5])
  end
  redis.call('PUBLISH', args[3], 'w' .. next)
  return { 'done', next }
end

-- configure: keys s, e; args maxn, maxb, ttl, readers, born, hash of nothing.
local function configure(keys, args)
  if redis.call('EXISTS', keys[1]) == 0 then
    redis.call('HSET', keys[1], 'seq', '0', 'bytes', '0', 'base', '0', 'basebytes', '0', 'trimmed', '0',
      'hseq', '0', 'hhash', args[6], 'born', args[5], 'readers', '')
  end
  local s = redis.call('HMGET', keys[1], 'readers', 'base', 'seq')
  local before, keep = s[1], {}
  for i = 1, #args[4], 32 do
    local reader = args[4]:sub(i, i + 31)
    keep[reader] = true
    redis.call('HSETNX', keys[1], 'c' .. reader, s[2])
  end
  for i = 1, #before, 32 do
    local reader = before:sub(i, i + 31)
    if not keep[reader] then redis.call('HDEL', keys[1], 'c' .. reader) end
  end
  redis.call('HSET', keys[1], 'maxn', args[1], 'maxb', args[2], 'ttl', args[3], 'readers', args[4])
  return { 'done', rebase(keys, least(keys[1], args[4], tonumber(s[3]))) }
end

-- acknowledge: keys s, e; args reader, seq.
local function acknowledge(keys, args)
  local s = redis.call('HMGET', keys[1], 'seq', 'c' .. args[1], 'readers')
  if not s[1] then return { 'missing' } end
  if not s[2] then return { 'reader' } end
  local seq = tonumber(args[2])
  if seq > tonumber(s[1]) then return { 'ahead' } end
  if seq > tonumber(s[2]) then
    redis.call('HSET', keys[1], 'c' .. args[1], args[2])
    rebase(keys, least(keys[1], s[3], tonumber(s[1])))
  end
  return { 'done' }
end

-- trim: keys s, e; args seq. It moves the beginning; cut deletes.
local function trim(keys, args)
  local newest = redis.call('HGET', keys[1], 'seq')
  if not newest then return { 'missing' } end
  if tonumber(args[1]) > tonumber(newest) then return { 'ahead' } end
  rebase(keys, tonumber(args[1]))
  return { 'done' }
end

-- checkpoint: keys s, e; args born, seq, the chain's hash up to it. What is before
-- the beginning and in that hash is deleted.
local function checkpoint(keys, args)
  local s = redis.call('HMGET', keys[1], 'born', 'hseq', 'base', 'trimmed')
  if s[1] ~= args[1] then return { 'missing' } end
  local hseq = tonumber(s[2])
  if tonumber(args[2]) > hseq then
    hseq = tonumber(args[2])
    redis.call('HSET', keys[1], 'hseq', args[2], 'hhash', args[3])
  end
  local gone = math.min(hseq, tonumber(s[3]))
  if gone > tonumber(s[4]) then
    redis.call('XTRIM', keys[2], 'MINID', id(gone + 1))
    redis.call('HSET', keys[1], 'trimmed', text(gone))
  end
  return { 'done' }
end

-- expire: keys s, e; args time. It moves the beginning past what has expired.
local function expire(keys, args)
  local s = redis.call('HMGET', keys[1], 'ttl', 'base', 'seq')
  if not s[1] then return { 'missing' } end
  local ttl, base, seq = tonumber(s[1]), tonumber(s[2]), tonumber(s[3])
  if ttl > 0 then
    local before, low, high = tonumber(args[1]) - ttl, base, seq
    while low < high do -- entries came in the order of their numbers
      local middle = math.ceil((low + high) / 2)
      local e = redis.call('XRANGE', keys[2], id(middle), id(middle))[1]
      if e and stamp(e) > before then high = middle - 1 else low = middle end
    end
    base = rebase(keys, low)
  end
  return { 'done', text(base) }
end

-- remove: keys s, e, d of this age, and d of the last if there was one; args channel.
local function remove(keys, args)
  redis.call('UNLINK', unpack(keys))
  redis.call('PUBLISH', args[1], 'w0')
  return { 'done' }
end

-- tick: keys clock; args farthest leap, time or "". It moves the store's clock as
-- stream.Clock does, and returns its seconds.
local function tick(keys, args)
  local wall = tonumber(args[2]) or tonumber(redis.call('TIME')[1])
  local c = redis.call('HMGET', keys[1], 'seconds', 'wall')
  local seconds = tonumber(c[1] or '0')
  if c[2] then
    seconds = seconds + math.min(math.max(wall - tonumber(c[2]), 0), tonumber(args[1]))
  end
  redis.call('HSET', keys[1], 'seconds', text(seconds), 'wall', text(wall))
  return { 'done', text(seconds), text(wall) }
end

-- range: keys s, e; args after, most bytes, cost of an entry.
local function range(keys, args)
  local s = redis.call('HMGET', keys[1], 'seq', 'base')
  if not s[1] then return { 'missing' } end
  local newest, after, most, cost = tonumber(s[1]), tonumber(args[1]), tonumber(args[2]), tonumber(args[3])
  if after > newest then return { 'ahead' } end
  after = math.max(after, tonumber(s[2]))
  local reply, size, seq = { 'done', text(after), s[1] }, 0, after
  while seq < newest do
    local part = redis.call('XRANGE', keys[2], id(seq + 1), id(newest), 'COUNT', 64)
    for _, e in ipairs(part) do
      local m = packed(e)
      size = size + #m - head + cost
      if size > most and #reply > 3 then return reply end
      seq = seq + 1
      if e[1] ~= id(seq) then return { 'damaged' } end
      reply[#reply + 1] = m
    end
    if #part == 0 then return { 'damaged' } end
  end
  return reply
end

-- sums: keys s, e; args after, up to. What the chain is made of.
local function sums(keys, args)
  local reply = { 'done' }
  for _, e in ipairs(redis.call('XRANGE', keys[2], id(tonumber(args[1]) + 1), id(tonumber(args[2])))) do
    reply[#reply + 1] = packed(e):sub(1, 48)
  end
  return reply
end

redis.register_function('confab_stream_1_append', append)
redis.register_function('confab_stream_1_configure', configure)
redis.register_function('confab_stream_1_acknowledge', acknowledge)
redis.register_function('confab_stream_1_trim', trim)
redis.register_function('confab_stream_1_checkpoint', checkpoint)
redis.register_function('confab_stream_1_expire', expire)
redis.register_function('confab_stream_1_remove', remove)
redis.register_function('confab_stream_1_tick', tick)
redis.register_function { function_name = 'confab_stream_1_range', callback = range, flags = { 'no-writes' } }
redis.register_function { function_name = 'confab_stream_1_sums', callback = sums, flags = { 'no-writes' } }
