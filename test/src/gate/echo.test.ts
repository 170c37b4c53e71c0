import t from 'tap'
import { echoUpstream } from '../../fixtures/echo.ts'
import { rawClient } from '../../fixtures/raw.ts'

t.test('the echo upstream records requests byte for byte', async t => {
  const echo = await echoUpstream(t)
  const client = rawClient(t, echo.port, index => index === 2)
  const chunked =
    'POST /a/../b?c HTTP/1.1\r\nhost: x\r\nX_Y:  z\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n'
  const sized = 'PUT /2 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc'
  client.send(`${chunked}${sized}HEAD /3 HTTP/1.1\r\n\r\n`)
  t.match(JSON.parse((await client.next()).body), {
    method: 'POST',
    target: '/a/../b?c',
    headers: [
      ['host', 'x'],
      ['X_Y', 'z'],
      ['Transfer-Encoding', 'chunked']
    ],
    body: '3\r\nabc\r\n0\r\n\r\n'
  })
  t.match(JSON.parse((await client.next()).body), { target: '/2', body: 'abc' })
  t.equal((await client.next()).body, '')
  t.same(
    echo.requests.map(each => each.target),
    ['/a/../b?c', '/2', '/3']
  )
  t.match(echo.connections, [chunked + sized])
})
