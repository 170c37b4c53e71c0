import t from 'tap'
import { renderPage } from '../../../src/session/page.ts'
import { displayName } from '../../../src/session/person.ts'

const hostile = `<img src=x onerror="a">&'`

t.test('a page says what it is given and nothing else, whatever that holds', async t => {
  const { body } = renderPage(
    {
      status: 200,
      title: `title ${hostile}`,
      text: `text ${hostile}`,
      choices: [{ text: `choice ${hostile}`, url: `/choice?${hostile}` }],
      link: { text: `link ${hostile}`, url: `/link?${hostile}` },
      form: { text: `form ${hostile}`, path: `/form?${hostile}`, token: `token ${hostile}` },
      reason: `reason ${hostile}`
    },
    `request ${hostile}`,
    'nonce'
  )
  t.notMatch(body, '<img')
  for (const what of ['title', 'text', 'choice', 'link', 'form', 'token', 'reason', 'request'])
    t.match(body, `${what} &lt;img src=x onerror=&quot;a&quot;&gt;&amp;&#39;`, what)
  t.match(body, 'href="/choice?&lt;img')
  const main = body
    .slice(body.indexOf('<main>'), body.indexOf('</main>'))
    .replaceAll('&lt;img src=x onerror=&quot;a&quot;&gt;&amp;&#39;', '…')
  t.equal(
    main,
    `<main>
<h1>title …</h1>
<p>text …</p>
<ul>
<li><a href="/choice?…">choice …</a></li>
</ul>
<form method="post" action="/form?…"><input type="hidden" name="token" value="token …"><button>form …</button></form>
<p><a href="/link?…">link …</a></p>
<footer><p>Reason: reason …</p><p>Request: request …</p></footer>
`
  )
})

t.test('a page allows nothing but its own style, and a form only where it has one', async t => {
  const page = { status: 200, title: 'a', text: 'b' }
  const plain = renderPage(page, 'id')
  const other = renderPage({ ...page, form: { text: 'c', path: '/', token: 'd' } }, 'id')
  const policy = (form: string) =>
    new RegExp(
      `^default-src 'none'; style-src 'nonce-([\\w-]{22})'; form-action ${form}; base-uri 'none'; frame-ancestors 'none'$`
    )
  t.match(plain.headers['content-security-policy'], policy("'none'"))
  t.match(other.headers['content-security-policy'], policy("'self'"))
  const [, nonce] = policy("'none'").exec(plain.headers['content-security-policy'] ?? '') ?? []
  t.match(plain.body, `<style nonce="${nonce}">`)
  t.notMatch(other.body, String(nonce), 'another one for each page')
  t.notMatch(plain.body, /url\(|@import|src=|<script|<footer/)
})

t.test('a person is called by the first name that can be read', async t => {
  const rows: [unknown[], string | null][] = [
    [['ada@example.com', 'x'], 'ada@example.com'],
    [['', ' ', null, 7, 'Ada Lovelace'], 'Ada Lovelace'],
    [['Ñandú 李'], 'Ñandú 李'],
    [['a\nb', 'a\u202eb', 'a\u200bb', 'a\u0000', 'x'.repeat(101)], null],
    [[], null]
  ]
  for (const [given, expected] of rows) t.equal(displayName(...given), expected, JSON.stringify(given))
})
