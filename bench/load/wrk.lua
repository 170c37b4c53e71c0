-- wrk -s wrk.lua URL [-- FILE]: with a file of tokens, each request carries the next one of them.

local requests = {}
local at = 0

function init(args)
  if args[1] == nil then
    requests[1] = wrk.format()
    return
  end
  for token in io.lines(args[1]) do
    requests[#requests + 1] = wrk.format(nil, nil, { Authorization = "Bearer " .. token })
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"bytes":%d,"failures":%d,"seconds":%.6f}\n',
    summary.requests, summary.bytes,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    summary.duration / 1e6
  ))
end
