/**
 * Each step of the session store, in Lua: one atomic call. KEYS[1] is the prefix of all its keys, which one slot of a cluster holds;
 * ARGV[1] is the time in ms, or empty for the server's own. Sessions are known here by the hashes of their ids, so nobody gets in with what
 * is read here; and a list may be of any length, so it is read a piece at a time.
 *
 *   PREFIX:s:HASH  `endsAt idle json` of a session; it ends with its idle time or its lifetime
 *   PREFIX:i:NAME  hashes of an issuer's `sid` or subject, scored by the end of the session; what has ended is dropped on the way
 *   PREFIX:all     hashes of all sessions, likewise
 *   PREFIX:p:KEY   a sign-in under way;  PREFIX:p  their keys, the oldest first
 *   PREFIX:o:FROM  keys of those that one client has begun, likewise; those that are finished stay until they would have ended
 *   PREFIX:l:KEY   a lock, with the word of its holder
 */
const prelude = `
local base, now = KEYS[1], tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
local function ms(number) return string.format('%.0f', math.max(1, math.min(math.ceil(number), 1e14))) end
local function lifeOf(text)
  local ends, idle = string.match(text, '^(%S+) (%S+) ')
  return math.min(tonumber(idle), tonumber(ends) - now), tonumber(ends)
end
local function enlist(list, ends, id)
  redis.call('ZREMRANGEBYSCORE', list, '-inf', ms(now))
  redis.call('ZADD', list, ms(ends), id)
  if redis.call('PTTL', list) < ends - now then redis.call('PEXPIRE', list, ms(ends - now)) end
end
`

/** ARGV: now, `1` for a session that must be there, most sessions, hash, text, names of lists. */
export const setScript = `${prelude}
local key = base .. ':s:' .. ARGV[4]
if ARGV[2] == '1' and redis.call('EXISTS', key) == 0 then return 0 end
local life, ends = lifeOf(ARGV[5])
if life <= 0 then
  redis.call('DEL', key)
  return 0
end
redis.call('SET', key, ARGV[5], 'PX', ms(life))
for i = 6, #ARGV do enlist(base .. ':i:' .. ARGV[i], ends, ARGV[4]) end
local all = base .. ':all'
enlist(all, ends, ARGV[4])
if redis.call('ZCARD', all) > tonumber(ARGV[3]) then
  local first = redis.call('ZPOPMIN', all)[1]
  redis.call('DEL', base .. ':s:' .. first)
end
return 1
`

export const getScript = `return redis.call('GET', KEYS[1] .. ':s:' .. ARGV[2])`

export const touchScript = `${prelude}
local key = base .. ':s:' .. ARGV[2]
local text = redis.call('GET', key)
if not text then return 0 end
local life = lifeOf(text)
if life <= 0 then redis.call('DEL', key) else redis.call('PEXPIRE', key, ms(life)) end
return 1
`

export const destroyScript = `
redis.call('ZREM', KEYS[1] .. ':all', ARGV[2])
return redis.call('DEL', KEYS[1] .. ':s:' .. ARGV[2])
`

/** Answers what it was. */
export const endScript = `
redis.call('ZREM', KEYS[1] .. ':all', ARGV[2])
local key = KEYS[1] .. ':s:' .. ARGV[2]
local text = redis.call('GET', key)
redis.call('DEL', key)
return text
`

/** How many hashes of a list one call looks at. */
const piece = 1000

/** Those of a list from `from` on; what has ended is dropped from it. `use` gets the others, and says whether it goes on. */
const walk = `
local base = KEYS[1]
local function walk(list, from, use)
  local hashes = redis.call('ZREVRANGE', list, from, from + ${piece - 1})
  for _, hash in ipairs(hashes) do
    local text = redis.call('GET', base .. ':s:' .. hash)
    if not text then
      redis.call('ZREM', list, hash)
    else
      local goes = use(hash, text)
      if goes == nil then return -1 end
      from = from + goes
    end
  end
  return #hashes < ${piece} and -1 or from
end
local function fits(text, issuer, sid, subject)
  if not issuer and not sid and not subject then return true end
  local isRead, record = pcall(cjson.decode, string.match(text, '^%S+ %S+ (.*)$') or '')
  if not isRead or type(record) ~= 'table' then return nil end
  return (not issuer or record.issuer == issuer)
    and (not sid or record.sid == sid)
    and (not subject or record.subject == subject)
end
local function wanted(i) return ARGV[i] == '1' and ARGV[i + 1] end
`

/**
 * ARGV: now, from where on, name of the list, issuer, `1` and the sid, `1` and the subject; `0` where any will do. Answers from where it
 * goes on, or -1, and how many it has ended.
 */
export const destroyOfScript = `${walk}
local list, count = base .. ':i:' .. ARGV[3], 0
local sid, subject = wanted(5), wanted(7)
local from = walk(list, tonumber(ARGV[2]), function(hash, text)
  -- What cannot be read is in this list as one of theirs.
  if fits(text, ARGV[4], sid, subject) == false then return 1 end
  redis.call('DEL', base .. ':s:' .. hash)
  redis.call('ZREM', list, hash)
  redis.call('ZREM', base .. ':all', hash)
  count = count + 1
  return 0
end)
return { from, count }
`

/**
 * ARGV: now, from where on, name of the list or `all`, how many, `1` and the issuer, `1` and the subject; `0` where any will do. Answers
 * from where it goes on, or -1, and then hashes and texts.
 */
export const listScript = `${walk}
local most, found = tonumber(ARGV[4]), { -1 }
local issuer, subject = wanted(5), wanted(7)
local list = ARGV[3] == 'all' and base .. ':all' or base .. ':i:' .. ARGV[3]
found[1] = walk(list, tonumber(ARGV[2]), function(hash, text)
  if fits(text, issuer, false, subject) then
    found[#found + 1] = hash
    found[#found + 1] = text
    if #found > 2 * most then return nil end
  end
  return 1
end)
return found
`

/** ARGV: now, key, text, for how long, the client, most sign-ins, most of one client. */
export const keepScript = `${prelude}
local all, own = base .. ':p', base .. ':o:' .. ARGV[5]
local function keepIn(list, most)
  enlist(list, now + tonumber(ARGV[4]), ARGV[2])
  if redis.call('ZCARD', list) > tonumber(most) then
    local first = redis.call('ZPOPMIN', list)[1]
    redis.call('DEL', base .. ':p:' .. first)
    redis.call('ZREM', all, first)
  end
end
redis.call('SET', base .. ':p:' .. ARGV[2], ARGV[3], 'PX', ms(tonumber(ARGV[4])))
keepIn(own, ARGV[7])
keepIn(all, ARGV[6])
return 1
`

export const takeScript = `
local key = KEYS[1] .. ':p:' .. ARGV[2]
local text = redis.call('GET', key)
redis.call('DEL', key)
redis.call('ZREM', KEYS[1] .. ':p', ARGV[2])
return text
`

/** ARGV: now, key, the holder's word, for how long. */
export const lockScript = `
return redis.call('SET', KEYS[1] .. ':l:' .. ARGV[2], ARGV[3], 'NX', 'PX', ARGV[4]) and 1 or 0
`

export const unlockScript = `
local key = KEYS[1] .. ':l:' .. ARGV[2]
if redis.call('GET', key) == ARGV[3] then return redis.call('DEL', key) end
return 0
`
