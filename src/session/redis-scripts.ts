/**
 * Each step of the session store, in Lua: one atomic call. KEYS[1] is the prefix of all its keys, which one slot of a cluster holds;
 * ARGV[1] is the time in ms, or empty for the server's own.
 *
 *   PREFIX:s:ID    `endsAt idle json` of a session; it ends with its idle time or its lifetime
 *   PREFIX:i:NAME  ids of an issuer's `sid` or subject, scored by the end of the session; what has ended is dropped on the way
 *   PREFIX:all     ids of all sessions, likewise
 *   PREFIX:p:KEY   a sign-in under way;  PREFIX:p  their keys, the oldest first
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

/** ARGV: now, `1` for a session that must be there, most sessions, id, text, names of lists. */
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

/** ARGV: now, name of the list, issuer, `1` and the sid, `1` and the subject; `0` where any will do. */
export const destroyOfScript = `${prelude}
local list, count = base .. ':i:' .. ARGV[2], 0
for _, id in ipairs(redis.call('ZRANGE', list, 0, -1)) do
  local key = base .. ':s:' .. id
  local text = redis.call('GET', key)
  if not text then
    redis.call('ZREM', list, id)
  else
    local record = cjson.decode(string.match(text, '^%S+ %S+ (.*)$'))
    local fits = record.issuer == ARGV[3]
      and (ARGV[4] == '0' or record.sid == ARGV[5])
      and (ARGV[6] == '0' or record.subject == ARGV[7])
    if fits then
      redis.call('DEL', key)
      redis.call('ZREM', list, id)
      redis.call('ZREM', base .. ':all', id)
      count = count + 1
    end
  end
end
return count
`

/** ARGV: now, how many. Sessions that nobody used are in the list until their lifetime is over: it is read a piece at a time. */
export const listScript = `
local all, most, found = KEYS[1] .. ':all', tonumber(ARGV[2]), {}
local from = 0
while #found < 2 * most do
  local ids = redis.call('ZREVRANGE', all, from, from + 99)
  if #ids == 0 then break end
  for _, id in ipairs(ids) do
    local text = redis.call('GET', KEYS[1] .. ':s:' .. id)
    if text and #found < 2 * most then
      found[#found + 1] = id
      found[#found + 1] = text
    end
  end
  from = from + 100
end
return found
`

/** ARGV: now, key, text, for how long, most sign-ins. */
export const keepScript = `${prelude}
local list = base .. ':p'
enlist(list, now + tonumber(ARGV[4]), ARGV[2])
redis.call('SET', base .. ':p:' .. ARGV[2], ARGV[3], 'PX', ms(tonumber(ARGV[4])))
if redis.call('ZCARD', list) > tonumber(ARGV[5]) then
  local first = redis.call('ZPOPMIN', list)[1]
  redis.call('DEL', base .. ':p:' .. first)
end
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
