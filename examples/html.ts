/** A page of the demo's services. `parts` are HTML already; what is not ours in them goes through `escaped`. */
export function htmlPage(title: string, ...parts: string[]): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(title)}</title>
<style>${style}</style>
</head>
<body><main>
<h1>${escaped(title)}</h1>
${parts.join('\n')}
</main></body>
</html>
`
}

/** For pages that hold nothing but their own style. */
export const pageHeaders = {
  'content-type': 'text/html; charset=utf-8',
  'cache-control': 'no-store',
  'content-security-policy':
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
}

const style = `
:root { color-scheme: light dark; --page: #eef2ee; --card: #fff; --text: #1c2421; --quiet: #56645c; --line: #d3dad5; --accent: #1b6b45; --on-accent: #fff; --alarm: #a3291e; font: 1rem/1.5 system-ui, sans-serif }
@media (prefers-color-scheme: dark) { :root { --page: #131714; --card: #1d231f; --text: #e5ebe7; --quiet: #9aa8a0; --line: #39433d; --accent: #86d3aa; --on-accent: #0f1a14; --alarm: #ff9d91 } }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--page); color: var(--text) }
main { box-sizing: border-box; width: min(30rem, calc(100vw - 2rem)); margin: 1rem 0; padding: 2rem; border-radius: .75rem; background: var(--card); box-shadow: 0 1px 3px #0003; overflow-wrap: anywhere }
h1 { margin: 0 0 .75rem; font-size: 1.375rem; line-height: 1.3 }
p, dl { margin: 0 0 1rem }
dt, label { color: var(--quiet); font-size: .875rem }
dd { margin: 0 0 .5rem }
a { color: var(--accent) }
input { box-sizing: border-box; display: block; width: 100%; margin: .25rem 0 1rem; padding: .5rem .75rem; border: 1px solid var(--quiet); border-radius: .375rem; background: var(--page); color: inherit; font: inherit }
button { padding: .5rem 1.25rem; border: 1px solid var(--accent); border-radius: .375rem; background: var(--accent); color: var(--on-accent); font: inherit; cursor: pointer }
button.quiet { background: none; color: var(--accent) }
.alarm { color: var(--alarm) }
p.quiet { color: var(--quiet); font-size: .875rem }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
`

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;'
}

export function escaped(text: string): string {
  return text.replaceAll(/[&<>"']/g, character => entities[character] as string)
}
