import { join } from 'node:path'

export interface DemoRequest {
  title: string
  /** A line for bash. */
  line: string
  /** Texts that its output holds. */
  answers: string[]
}

/** Where the gateway of the demo answers. */
export interface DemoOrigins {
  http: string
  h2c: string
  admin: string
}

/**
 * Requests to try, with curl and the clients beside this file. The tests execute each line as it is printed, and look for the
 * answers in its output.
 */
export function demoRequests(
  { http, h2c, admin }: DemoOrigins,
  root: string,
  tokenFile: string
): DemoRequest[] {
  const fromFile = `"$(cat ${shellWord(tokenFile)})"`
  const token = `-H "Authorization: Bearer $(cat ${shellWord(tokenFile)})"`
  const client = (name: string) => `node ${shellWord(join(root, 'examples', name))} --token ${fromFile}`
  return [
    {
      title: 'With a token that has the scope orders:read',
      line: `curl -i ${token} ${http}/orders/7`,
      answers: ['HTTP/1.1 200 OK', '"askedBy":"demo-app"']
    },
    {
      title: 'Without a token',
      line: `curl -i ${http}/orders/7`,
      answers: ['HTTP/1.1 401 Unauthorized', '"reason":"token.missing"']
    },
    {
      title: 'With the same token, to place an order: that needs the scope orders:write',
      line: `curl -i -X POST ${token} ${http}/orders`,
      answers: ['HTTP/1.1 403 Forbidden', '"reason":"scope.missing"']
    },
    {
      title: 'Six times where five in ten seconds are allowed',
      line: `curl -s -o /dev/null -w '%{http_code} ' '${http}/catalog/[1-6]'`,
      answers: ['200 200 200 200 200 429']
    },
    {
      title: 'The same order by gRPC, which goes to the listener h2c',
      line: `${client('call-orders.ts')} ${h2c} Get 7`,
      answers: ['{"id":"7","item":"lantern","askedBy":"demo-app"}']
    },
    {
      title: 'A method of the gRPC service that the route does not name',
      line: `${client('call-orders.ts')} ${h2c} Delete 7`,
      answers: ['UNIMPLEMENTED: Unknown method (protocol.rpc)']
    },
    {
      title: 'Three prices over WebSocket',
      line: `${client('watch-prices.ts')} ${http.replace('http', 'ws')}/prices/live`,
      answers: ['open, prices.v1', '{"hello":"demo-app"}', 'closed, 1000']
    },
    {
      title: 'What the gateway has counted so far',
      line: `curl -s ${admin}/metrics | grep '^sallyport_requests_total'`,
      answers: [
        'sallyport_requests_total{route="orders-read",protocol="http",method="GET",code="200"}',
        'code="429"'
      ]
    }
  ]
}

function shellWord(text: string): string {
  return /^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}
