-- Store the events of a partition, in order, but for those that were stored within the window.
-- KEYS: the stream, and the ids of late. ARGV: window and keep in milliseconds, and the events, packed:
-- of each its id, its attributes and its data, each behind its length.
-- An event is stored before its id is: if a call fails between, what is sent again is stored.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[1])
local packed, at, id, attributes, data = ARGV[3], 1
while at <= #packed do
  id, attributes, data, at = struct.unpack('>I4c0I4c0I4c0', packed, at)
  if not redis.call('ZSCORE', KEYS[2], id) then
    redis.call('XADD', KEYS[1], '*', 'cloudevent', attributes, 'data', data)
    redis.call('ZADD', KEYS[2], now, id)
  end
end
if tonumber(ARGV[2]) > 0 then
  redis.call('XTRIM', KEYS[1], 'MINID', '~', string.format('%.0f', now - ARGV[2]))
end
return 1
