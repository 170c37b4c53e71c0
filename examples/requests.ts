export interface DemoRequest {
  title: string
  /** A line for bash. */
  line: string
  /** Texts that its output holds. */
  answers: string[]
}

/** Requests to try. The tests execute each line as it is printed, and look for the answers in its output. */
export function demoRequests(gateway: string, admin: string, tokenFile: string): DemoRequest[] {
  const token = `-H "Authorization: Bearer $(cat ${shellWord(tokenFile)})"`
  return [
    {
      title: 'With a token that has the scope orders:read',
      line: `curl -i ${token} ${gateway}/orders/7`,
      answers: ['HTTP/1.1 200 OK', '"askedBy":"demo-app"']
    },
    {
      title: 'Without a token',
      line: `curl -i ${gateway}/orders/7`,
      answers: ['HTTP/1.1 401 Unauthorized', '"reason":"token.missing"']
    },
    {
      title: 'With the same token, to place an order: that needs the scope orders:write',
      line: `curl -i -X POST ${token} ${gateway}/orders`,
      answers: ['HTTP/1.1 403 Forbidden', '"reason":"scope.missing"']
    },
    {
      title: 'Six times where five in ten seconds are allowed',
      line: `curl -s -o /dev/null -w '%{http_code} ' '${gateway}/catalog/[1-6]'`,
      answers: ['200 200 200 200 200 429']
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
