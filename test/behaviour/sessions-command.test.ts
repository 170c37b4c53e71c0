import t from 'tap'
import { Browser } from '../fixtures/browser.ts'
import { echoUpstream } from '../fixtures/echo.ts'
import { run } from '../fixtures/program.ts'
import { signInGateway } from '../fixtures/sign-in.ts'
import { echo, upstream } from '../helper.ts'

t.test('sessions list shows who is signed in, and sessions end ends it', async t => {
  const { url, admin, issuer } = await signInGateway(t, (await echoUpstream(t)).url)
  const people = ['ada', 'ada', 'bob']
  const browsers: Browser[] = []
  for (const person of people) {
    issuer.person = person
    const browser = new Browser()
    await browser.open(`${url}/a`)
    browsers.push(browser)
  }
  const statuses = () => Promise.all(browsers.map(async browser => (await browser.call(`${url}/a`)).status))
  const sessions = (...args: string[]) => run(['sessions', ...args, '--admin', admin])

  const listed = await sessions('list')
  t.match(listed, { code: 0, stderr: '' })
  const lines = listed.stdout.split('\n')
  t.equal(lines.length, 3)
  for (const line of lines)
    t.match(line, /^[0-9a-f]{64}\tcorp\t(ada|bob)\t\1@example\.com\t127\.0\.0\.1\tsince=2\S+\tuntil=2\S+Z$/)

  const some = await sessions('list', '--limit', '2')
  t.equal(some.stdout.split('\n').length, 2)
  t.match(some, { code: 0, stderr: /there may be more/ })

  const { stdout } = await sessions('list', '--issuer', 'corp', '--subject', 'bob', '--format', 'json')
  const answer = JSON.parse(stdout.replaceAll('\n', ''))
  t.match(answer, { sessions: [{ subject: 'bob', issuer: 'corp' }], cut: false })

  t.match(await sessions('end', answer.sessions[0].handle), { code: 0, stdout: '1 session ended' })
  t.same(await statuses(), [200, 200, 401])
  const again = await sessions('end', answer.sessions[0].handle)
  t.match(again, { code: 1, stdout: '', stderr: /there is no such session/ })

  const ada = ['end', '--issuer', 'corp', '--subject', 'ada']
  t.match(await sessions(...ada, '--format', 'json'), { code: 0, stdout: /"ended": 2/ })
  t.same(await statuses(), [401, 401, 401])
  t.match(await sessions(...ada), { code: 0, stdout: '0 sessions ended' })
  t.match(await sessions('list'), { code: 0, stdout: '', stderr: '' })
  t.match(await sessions('list', '--issuer', 'nobody'), { code: 1, stdout: '', stderr: /known: corp/ })
})

t.test('what the command line lacks is exit code 64, and what the gateway lacks is 1', async t => {
  const handle = 'a'.repeat(64)
  const rows: [string[], RegExp][] = [
    [['end'], /say which/],
    [['end', '--issuer', 'corp'], /say which/],
    [['end', '--subject', 'ada'], /say which/],
    [['end', handle, '--issuer', 'corp', '--subject', 'ada'], /say which/],
    [['end', handle, 'other'], /too many arguments/],
    [['end', handle, '--limit', '1'], /unknown option/],
    [['list', '--admin', 'nowhere'], /write http:/],
    [['list', '--admin', 'https://127.0.0.1:9090'], /write http:/],
    [['list', '--admin', 'http://127.0.0.1:9090/a'], /write http:/],
    [['list', '--format', 'yaml'], /Allowed choices/],
    [['ende'], /unknown command/]
  ]
  for (const [args, said] of rows)
    t.match(await run(['sessions', ...args]), { code: 64, stdout: '', stderr: said }, args.join(' '))
  const gone = await upstream(t, () => {})
  gone.server.close()
  t.match(await run(['sessions', 'list', '--admin', gone.url]), {
    code: 1,
    stdout: '',
    stderr: `${gone.url} does not answer (ECONNREFUSED)\n`
  })
})

t.test('something else on that port does no harm', async t => {
  const noJson = await upstream(t, (_request, response) => response.end('<html>'))
  const moved = await upstream(t, (_request, response) =>
    response.writeHead(302, { location: 'http://127.0.0.1:9/' }).end()
  )
  const stranger = await upstream(t, (_request, response) =>
    response.writeHead(404).end(JSON.stringify({ error: 'not found' }))
  )
  const { url } = await echo(t)
  for (const { url: admin } of [noJson, moved, { url }])
    t.match(await run(['sessions', 'list', '--admin', admin]), { code: 1, stdout: '', stderr: /^http:.*\n$/ })
  t.match(await run(['sessions', 'list', '--admin', stranger.url]), { code: 1, stderr: /kubectl exec/ })
})

t.test('names that would act on a terminal are written out', async t => {
  const one = {
    handle: 'a',
    issuer: 'corp',
    subject: '\u001b[2Jada\n\u202eb',
    email: null,
    host: 'a',
    createdAt: '',
    endsAt: ''
  }
  const body = JSON.stringify({ sessions: [one], cut: false })
  const { url } = await upstream(t, (_request, response) => response.end(body))
  const { stdout } = await run(['sessions', 'list', '--admin', url])
  t.equal(stdout, 'a\tcorp\t\\u{1b}[2Jada\\u{a}\\u{202e}b\t-\ta\tsince=\tuntil=')
})
