/**
 * The decision of `memory.ts` in Lua, so that looking, deciding and counting are one step for all replicas. What is remembered of a
 * key is one string, `algorithm start count previous`, with the meaning that `memory.ts` gives them; numbers keep all their
 * digits. A refused request changes nothing and writes nothing: a flood costs reads only.
 *
 * KEYS: the key. ARGV: algorithm, limit, window (ms), burst, cost, `1` to charge, the time in ms or empty for the server's own.
 * Returns allowed (0 or 1), remaining, resetAfter and retryAfter, the latter two in microseconds: Redis cuts fractions off.
 */
export const limitScript = `
local algorithm, charge = ARGV[1], ARGV[6] == '1'
local limit, window = tonumber(ARGV[2]), tonumber(ARGV[3])
local burst, cost = tonumber(ARGV[4]), tonumber(ARGV[5])
local epsilon = 1e-9
local now = tonumber(ARGV[7])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000
end

local start, count, previous = now, 0, 0
if algorithm == 'token-bucket' then count = burst end
local text = redis.call('GET', KEYS[1])
if text then
  local kind, s, c, p = string.match(text, '^(%S+) (%S+) (%S+) (%S+)$')
  s, c, p = tonumber(s), tonumber(c), tonumber(p)
  if kind == algorithm and s and c and p then start, count, previous = s, c, p end
  -- The server's clock was set back, or another server took over: no limit may last longer than it says.
  if start > now then start = now end
end

-- Endless where the cost is above the limit, which no integer of Redis is.
local function micros(ms) return math.min(math.ceil(ms * 1000), 9e15) end

local allowed, remaining, reset, retry, expires
if algorithm == 'fixed-window' then
  if count == 0 or now - start >= window then start, count = now, 0 end
  allowed = count + cost <= limit
  if allowed and charge then count = count + cost end
  local left = window - (now - start)
  expires = left
  remaining = math.max(0, limit - count)
  reset = count == 0 and 0 or left
  retry = left
elseif algorithm == 'sliding-window' then
  local passed = now - start
  if passed >= window then
    previous = passed < 2 * window and count or 0
    count = 0
    start = start + window
  end
  if count == 0 and previous == 0 then start = now end
  local elapsed = math.max(0, now - start)
  local carried = previous * (1 - elapsed / window)
  allowed = carried + count + cost <= limit + epsilon
  if allowed and charge then count = count + cost end
  expires = 2 * window - elapsed
  remaining = math.max(0, math.floor(limit - carried - count + epsilon))
  reset = count > 0 and 2 * window - elapsed or (previous > 0 and window - elapsed or 0)
  if not allowed then
    local room = limit - count - cost
    if room >= 0 then retry = window * (1 - room / previous) - elapsed
    else retry = window - elapsed + window * math.max(0, 1 - (limit - cost) / count) end
  end
elseif algorithm == 'token-bucket' then
  local rate = limit / window
  count = math.min(burst, count + math.max(0, now - start) * rate)
  start = now
  allowed = count + epsilon >= cost
  retry = (cost - count) / rate
  if allowed and charge then count = math.max(0, count - cost) end
  reset = (burst - count) / rate
  expires = reset
  remaining = math.floor(count + epsilon)
else
  return redis.error_reply('ERR unknown algorithm')
end

if allowed and charge then
  local state = string.format('%s %.17g %.17g %.17g', algorithm, start, count, previous)
  redis.call('SET', KEYS[1], state, 'PX', string.format('%.0f', math.max(1, math.ceil(expires))))
end
if allowed then return { 1, remaining, micros(reset), 0 } end
return { 0, remaining, micros(reset), micros(retry) }
`
